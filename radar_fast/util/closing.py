"""What holds something that must be given back: closed at the end of a ``with``, whatever ended it."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """A context manager of itself, by its :meth:`close`."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds. Calling it twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
