"""A graph as a stranger may have made it, looked through before onnxruntime reads it."""
