"""What other packages add by entry points: found and imported late, each failure named once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sapwood.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class InstalledPlugin:
    """One entry point of another package, which names a module."""

    entry: EntryPoint

    @property
    def title(self) -> str:
        """Package, version and module, for messages."""
        package = self.entry.dist
        if package is None:
            return f"a package without a name ({self.entry.value})"
        return f"{package.metadata['Name']} {package.version} ({self.entry.value})"

    def load(self) -> None:
        """Imports the module."""
        self.entry.load()


class InstalledPlugins:
    """The plugins of one group, imported at the first look.

    Args:
        group: Of the entry points.
        load: Imports one of them.

    Attributes:
        current: The one that is being imported.
    """

    def __init__(self, group: str, load: Callable[[InstalledPlugin], None]) -> None:
        self.group = group
        self.current: InstalledPlugin | None = None
        self._load_one = load
        self._state: str = "new"
        self._clash: PluginError | None = None
        self._lock = threading.RLock()

    def load(self) -> None:
        """Imports all that are there, once; a look from inside a plugin sees what is there by then.

        Raises:
            PluginError: If one registers a name that is taken; again at every look.
        """
        if self._state != "done":
            with self._lock:
                if self._state == "new":
                    self._load_all()
        if self._clash is not None and self.current is None:
            raise self._clash

    def clash(self, text: str) -> PluginError:
        """The error of a plugin that takes a name again; kept, for a second import would not see it."""
        self._clash = self._clash or PluginError(f"{text}; expected another name, or one of the two packages only")
        return self._clash

    def _load_all(self) -> None:
        faults: list[str] = []
        self._state = "loading"
        for plugin in self._found(faults):
            self.current = plugin
            try:
                self._load_one(plugin)
            except (Exception, SystemExit) as error:
                if self._clash is None:
                    text = f"{type(error).__name__}: {error}"
                    faults.append(f"{plugin.title} cannot be loaded as one of {self.group}, and is left out: {text}")
            finally:
                self.current = None
        self._state = "done"
        for fault in faults:
            warnings.warn(fault, RuntimeWarning, stacklevel=4)

    def _found(self, faults: list[str]) -> list[InstalledPlugin]:
        from importlib.metadata import entry_points

        try:
            return [InstalledPlugin(entry) for entry in sorted(entry_points(group=self.group))]
        except Exception as error:
            faults.append(f"entry points of {self.group} cannot be read: {type(error).__name__}: {error}")
            return []
