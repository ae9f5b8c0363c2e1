"""Frozen dataclasses with slots that pickle at speed: what the standard library gives them looks up all fields anew for
each object, which is half of the time that a farm takes to send a sample."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

__all__ = ["pickles_fast"]

Class = TypeVar("Class", bound=type)


def pickles_fast(frozen: Class) -> Class:
    """A class decorator, to stand above ``@dataclass(frozen=True, slots=True)`` of two fields or more.

    What is pickled is as before: the values of the fields, in their order.
    """
    names = tuple(field.name for field in fields(frozen))
    setters = tuple(getattr(frozen, name).__set__ for name in names)
    values = attrgetter(*names)

    def getstate(self: object) -> tuple[Any, ...]:
        state: tuple[Any, ...] = values(self)
        return state

    def setstate(self: object, state: Sequence[Any]) -> None:
        for set_value, value in zip(setters, state, strict=True):
            set_value(self, value)

    for name, method in (("__getstate__", getstate), ("__setstate__", setstate)):
        setattr(frozen, name, method)
    return frozen
