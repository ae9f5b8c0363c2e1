"""What becomes of scores: the result folder, its journal, the numbers, and what is made of them."""

__all__: list[str] = []
