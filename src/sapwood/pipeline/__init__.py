"""The calls in order: what the command line's long verbs do, from a loaded model to a written record."""

from sapwood.pipeline.candidates import CANDIDATES, Candidate
from sapwood.pipeline.comparison import compare
from sapwood.pipeline.measuring import CompareSettings
from sapwood.pipeline.pictures import first_pictures, read_pictures

__all__ = ["CANDIDATES", "Candidate", "CompareSettings", "compare", "first_pictures", "read_pictures"]
