"""The traced form of PyTorch's recurrent layers, packing and encoders; and their weights in ONNX's order."""
