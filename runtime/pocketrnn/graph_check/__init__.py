"""Check a graph that may come from a stranger, before onnxruntime reads it."""
