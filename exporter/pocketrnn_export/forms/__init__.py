"""The forms of a classifier. Each file in this folder makes one form: its name, its bytes, and its runs for the
proof."""
