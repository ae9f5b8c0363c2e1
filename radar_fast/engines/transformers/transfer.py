"""Copies between host and device that nobody waits for: from memory that the device reads by itself (pinned)."""

from collections.abc import Callable, Sequence

import torch

__all__ = ["joined", "moved", "to_host"]


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host's, on the device."""
    return tensor.to(device) if device.type != "cuda" else joined([tensor], device)


def joined(tensors: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Tensors of the host's, end to end on the device. They are put together in pinned memory, and copied once."""
    if device.type != "cuda":
        return torch.cat(list(tensors)).to(device)
    first = tensors[0]
    length = sum(len(tensor) for tensor in tensors)
    whole = torch.empty(length, *first.shape[1:], dtype=first.dtype, pin_memory=True)
    torch.cat(list(tensors), out=whole)
    return whole.to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begin to copy a tensor to the host; what is returned waits for that copy alone, and returns it."""
    if tensor.device.type != "cuda":
        return tensor.cpu
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch leaves it untyped
    copied.record()

    def wait() -> torch.Tensor:
        copied.synchronize()
        return host

    return wait
