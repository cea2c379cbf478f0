"""Loops over the steps of a text: matched in a trace of a few iterations, recognised, and put back for any number."""
