"""What a model will take, from its graph alone: `footprint.py` sums up, the rest is what ONNX Runtime makes of a graph."""
