"""What masks leave: channels that no input reaches an output through, removed for good."""

from sapwood.compaction.compacting import Compacted, compact
from sapwood.compaction.kept import Kept

__all__ = [
    "Compacted",
    "Kept",
    "compact",
]
