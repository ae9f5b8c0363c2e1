"""One pass on vLLM, on GPU nodes."""

__all__: list[str] = []
