"""Accuracy back in closed form: layer by layer, from pictures without labels."""

from sapwood.recovery.reconstruction.masked import Rule
from sapwood.recovery.reconstruction.reconstruct import reconstruct
from sapwood.recovery.reconstruction.results import LayerReconstruction, Reconstruction

__all__ = ["LayerReconstruction", "Reconstruction", "Rule", "reconstruct"]
