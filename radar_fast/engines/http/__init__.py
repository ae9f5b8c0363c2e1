"""The client's side of ``vllm serve``: a served checkpoint, scored by a machine that has none."""

__all__: list[str] = []
