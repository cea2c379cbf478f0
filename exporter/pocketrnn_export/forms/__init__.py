"""The forms of a classifier. Most files in this folder make one form: its name, its bytes, and its runs for the
proof."""
