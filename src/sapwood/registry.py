"""A named table of implementations: one entry a file, one line to add it; other packages add theirs by entry points."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from sapwood.errors import ConfigError
from sapwood.meant import meant_name
from sapwood.plugins import InstalledPlugin, InstalledPlugins

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to implementations of one kind.

    Args:
        kind: What the entries are, in the singular, for messages (``"mask method"``).
        entry_points: The group of entry points by which other packages add to it (``"sapwood.criteria"``); each names a
            module, which is imported at the first look into the registry and registers as Sapwood's own files do.
        lazy: Names of entries that are known to be there before their module, which is imported when one is asked for.
        others: What other programs call an entry, in small letters without anything between: its name, for messages.

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

    def __init__(
        self,
        kind: str,
        entry_points: str | None = None,
        *,
        lazy: Mapping[str, str] | None = None,
        others: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.others = dict(others or {})
        self.entry_points = entry_points
        self._entries: dict[str, T] = {}
        self._owners: dict[str, str] = {}
        self._lazy = dict(lazy or {})
        self._plugins = None if entry_points is None else InstalledPlugins(entry_points, self._load)

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that adds its argument under ``name``.

        Raises:
            ValueError: If ``name`` is taken, which is a mistake in the program.
            PluginError: If it is a plugin that takes the name again.
        """

        def add(entry: T) -> T:
            plugin = None if self._plugins is None else self._plugins.current
            owner = _module_of(entry) if plugin is None else plugin.title
            if name in self._entries or (plugin is not None and name in self._lazy):
                first = self._owners.get(name) or self._lazy[name]
                twice = f"{self.kind} {name!r} is registered twice: by {first} and by {owner}"
                if self._plugins is None or plugin is None:
                    raise ValueError(twice)
                raise self._plugins.clash(twice)
            self._entries[name], self._owners[name] = entry, owner
            return entry

        return add

    def is_sapwoods(self) -> bool:
        """Whether all entries so far are written in Sapwood's own files."""
        return all(owner.startswith("sapwood.") for owner in self._owners.values())

    def load_plugins(self) -> None:
        """Imports what other packages add, if that was not done; every look into the registry does it.

        Raises:
            PluginError: If one of them registers a name that is taken; it has to go, or to choose another name.
        """
        if self._plugins is not None:
            self._plugins.load()

    def _load(self, plugin: InstalledPlugin) -> None:
        """Imports one plugin; what it had registered when it failed is taken back."""
        before = dict(self._entries), dict(self._owners)
        try:
            plugin.load()
        except BaseException:
            self._entries, self._owners = before
            raise

    def __getitem__(self, name: str) -> T:
        self.load_plugins()
        if name in self._lazy and name not in self._entries:
            importlib.import_module(self._lazy[name])
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} {name!r}; expected one of: {', '.join(self)}{self.meant(name)}")
        return self._entries[name]

    def meant(self, name: object) -> str:
        """What was probably meant by a name that is not there, as the end of a message; or nothing."""
        return meant_name(name, self, self.others)

    def __contains__(self, name: object) -> bool:
        if name in self._lazy:
            return True
        self.load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self.load_plugins()
        return iter(sorted({*self._entries, *self._lazy}))

    def __len__(self) -> int:
        self.load_plugins()
        return len({*self._entries, *self._lazy})


def _module_of(entry: object) -> str:
    """The module that an entry was written in, or that of its class."""
    return str(getattr(entry, "__module__", None) or type(entry).__module__)
