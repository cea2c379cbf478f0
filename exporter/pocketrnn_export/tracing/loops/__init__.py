"""Loops over the steps of a text: compare the iterations of a short trace, recognize what they compute, and rebuild the
loop for any number of iterations."""
