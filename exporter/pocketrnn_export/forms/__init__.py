"""The forms of a classifier: each file gives one form's name, bytes and runs for the proof."""
