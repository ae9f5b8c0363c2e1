"""Checkpoints on disk: what they hold, and how folders that transformers cannot load are read."""

__all__: list[str] = []
