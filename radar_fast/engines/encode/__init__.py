"""Prompts -> token ids and image tensors, for both engines: in threads, or in processes."""

__all__: list[str] = []
