"""The report: one page that shows a series of checkpoints, works from a file, and fetches nothing."""

__all__: list[str] = []
