"""A device that is not there, and what of it the host would wait for.

The tensors are torch's meta tensors: they have shapes and no values. Whatever would read a value of theirs, or a size
that depends on values, is written down instead, in the order it was asked for.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU, DEVICE = torch.device("cpu"), torch.device("meta")

aten = torch.ops.aten

VALUE_DEPENDENT = (
    aten._local_scalar_dense,
    aten._unique2,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten.item,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
)
"""Operators that wait for their operands on a GPU."""


def _on_device(values: Any) -> bool:
    return any(isinstance(leaf, torch.Tensor) and leaf.device == DEVICE for leaf in tree_leaves(values))


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it untyped
    """Within, ``waited`` gets the name of every operation that would wait for DEVICE."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waited: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _on_device((args, kwargs)):
            return func(*args, **kwargs)
        if func.overloadpacket in VALUE_DEPENDENT:
            self.waited.append(func.overloadpacket.__name__)
            return 1 if func.overloadpacket is aten._local_scalar_dense else func(*args, **kwargs)
        if func.overloadpacket in (aten._to_copy, aten.to) and CPU in (kwargs.get("device"), *args[1:]):
            self.waited.append("copy to the host")
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func.overloadpacket is aten.index and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.waited.append("index by a mask")
        if func.overloadpacket is aten.copy_ and args[0].device != DEVICE:
            self.waited.append("copy to the host")
            return args[0]
        return func(*args, **kwargs)
