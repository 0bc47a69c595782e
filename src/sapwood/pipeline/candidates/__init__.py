"""What each kind of row does to a model: one file a kind, registered under the word its rows carry."""

from sapwood.pipeline.candidates import compact as compact
from sapwood.pipeline.candidates import mask as mask
from sapwood.pipeline.candidates import prune as prune
from sapwood.pipeline.candidates.base import (
    CANDIDATES,
    Candidate,
    Make,
    Prepare,
    baseline_candidate,
    looks_at_pictures,
    prepare,
)

__all__ = ["CANDIDATES", "Candidate", "Make", "Prepare", "baseline_candidate", "looks_at_pictures", "prepare"]
