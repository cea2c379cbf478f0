"""Engines, which compute logits from token ids or samples. Each has its own file; `engine.py` defines their
interface."""
