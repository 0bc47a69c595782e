"""What each kind of row does to a model: one file a kind, registered under the word its rows carry."""

from sapwood.comparing.candidates import compact as compact
from sapwood.comparing.candidates import mask as mask
from sapwood.comparing.candidates import prune as prune
from sapwood.comparing.candidates.base import (
    CANDIDATES,
    Candidate,
    Make,
    Prepare,
    baseline_candidate,
    looks_at_pictures,
    prepare,
)

__all__ = ["CANDIDATES", "Candidate", "Make", "Prepare", "baseline_candidate", "looks_at_pictures", "prepare"]
