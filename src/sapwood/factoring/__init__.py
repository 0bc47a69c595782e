"""Layers that become two with few channels between them, in the directions in which their results vary."""

from sapwood.factoring.directions import Directions, find_directions, weight_directions
from sapwood.factoring.factored import TwoLayers, check_some_able, in_two_layers, with_fewer

__all__ = [
    "Directions",
    "TwoLayers",
    "check_some_able",
    "find_directions",
    "in_two_layers",
    "weight_directions",
    "with_fewer",
]
