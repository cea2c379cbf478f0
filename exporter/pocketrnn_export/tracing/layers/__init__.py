"""PyTorch's layers as a trace has them: recurrent ones, packing, encoders; and their weights in ONNX's order."""
