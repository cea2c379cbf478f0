"""Engines, which compute logits from token ids or samples: one file for each; `engine.py` defines their interface."""
