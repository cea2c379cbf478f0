"""The form that every bundle has: a traced program as a graph of ONNX, and what keeps its numbers."""
