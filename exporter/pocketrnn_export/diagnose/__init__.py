"""Explain why a proof failed. This code runs only after a failure, so no answer depends on it."""
