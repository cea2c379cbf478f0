"""PyTorch's recurrent layers, packed sequences and encoders in a trace, and the layers' weights in ONNX's order."""
