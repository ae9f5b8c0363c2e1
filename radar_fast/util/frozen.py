"""A mapping that cannot be changed, and goes wherever plain values go: it pickles, copies, compares and hashes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

__all__ = ["FrozenMapping"]

Key = TypeVar("Key")
Value = TypeVar("Value", covariant=True)


class FrozenMapping(Mapping[Key, Value]):
    """A copy of a mapping. Equal to every mapping with the same items; hashable if its values are.

    ``types.MappingProxyType`` is a view, which another may change, and neither pickles nor hashes.
    """

    __slots__ = ("_items",)

    _items: dict[Key, Value]

    def __init__(self, items: Mapping[Key, Value] | Iterable[tuple[Key, Value]] = ()) -> None:
        object.__setattr__(self, "_items", dict(items))

    def __getitem__(self, key: Key) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._items,)
