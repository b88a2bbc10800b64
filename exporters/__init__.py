"""Zoo network or foreign model -> Artifact -> quantized Artifact. torch and onnx are imported here and in the zoo only."""
