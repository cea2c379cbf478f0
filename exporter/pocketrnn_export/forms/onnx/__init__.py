"""The form that every bundle has: a traced program as an ONNX graph, and the steps that keep its numbers exact."""
