"""What any module may use: nothing here knows what radar-fast is about."""

__all__: list[str] = []
