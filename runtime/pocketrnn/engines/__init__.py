"""Engines: what turns token ids into logits. One file an engine; `engine.py` says what every engine offers."""
