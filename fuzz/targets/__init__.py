"""Every reader of the project as a target, one file a kind of document.

Everything is imported before the first document is read, so that what is imported later was asked for by a file.
"""

from targets import configs, datasets, engine, kept, networks
from targets.target import TARGETS, mutated, seeds_of

__all__ = ["TARGETS", "configs", "datasets", "engine", "kept", "mutated", "networks", "seeds_of"]
