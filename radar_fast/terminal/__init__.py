"""What a person sees on a terminal."""

__all__: list[str] = []
