"""ONNX files read and written without the onnx package: header, graph, shapes and types, down to the protobuf wire."""
