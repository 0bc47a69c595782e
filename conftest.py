"""Examples that need the sparse engine are left out where it was not built; so are modules of packages not there."""

import importlib.util

from sapwood.errors import EngineMissingError
from sapwood.runtime.engine.library import library

collect_ignore = []
if importlib.util.find_spec("ultralytics") is None:
    collect_ignore.append("src/sapwood/models/ultralytics/trainers.py")
try:
    library()
except EngineMissingError:
    collect_ignore.append("src/sapwood/runtime/engine/compiled.py")
