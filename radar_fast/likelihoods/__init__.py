"""Log-likelihoods for other people's harnesses: requests that share their context share its forward pass."""

__all__: list[str] = []
