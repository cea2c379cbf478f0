"""The ONNX graph, the form that every bundle has: converting a traced program, and the steps that keep its numbers
exact."""
