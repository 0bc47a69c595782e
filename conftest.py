"""Examples that need the sparse engine are left out where it was not built."""

from sapwood.errors import EngineMissingError
from sapwood.runtime.engine.library import library

collect_ignore = []
try:
    library()
except EngineMissingError:
    collect_ignore.append("src/sapwood/runtime/engine/compiled.py")
