"""Several ways of pruning one network, measured side by side."""

from sapwood.comparing.candidates import CANDIDATES, Candidate
from sapwood.comparing.comparison import compare
from sapwood.comparing.measuring import CompareSettings
from sapwood.comparing.pictures import first_pictures, read_pictures

__all__ = [
    "CANDIDATES",
    "Candidate",
    "CompareSettings",
    "compare",
    "first_pictures",
    "read_pictures",
]
