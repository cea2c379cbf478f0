"""The forms of a classifier: each gives bytes and a run for the proof."""
