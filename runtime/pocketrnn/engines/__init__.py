"""Engines, which compute logits from token ids or samples. Each engine has its own file."""
