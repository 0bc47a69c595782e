"""A named table of implementations: one entry a file, one line to add it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sapwood.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to implementations of one kind.

    Args:
        kind: What the entries are, in the singular, for messages (``"mask method"``).

    Examples:
        >>> greeters = Registry("greeter")
        >>> @greeters.register("hello")
        ... def hello() -> str:
        ...     return "hello"
        >>> greeters["hello"]()
        'hello'
        >>> greeters["bye"]
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: unknown greeter 'bye'; expected one of: hello
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that adds its argument under ``name``.

        Raises:
            ValueError: If ``name`` is taken, which is a mistake in the program.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} {name!r}; expected one of: {', '.join(sorted(self._entries))}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
