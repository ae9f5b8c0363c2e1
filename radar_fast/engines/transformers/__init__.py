"""One pass on transformers, anywhere."""

__all__: list[str] = []
