"""Accuracy back in closed form: layer by layer, from pictures without labels."""

from sapwood.recovery.reconstruction.masked import Rule, num_units
from sapwood.recovery.reconstruction.reconstruct import reconstruct
from sapwood.recovery.reconstruction.results import LayerReconstruction, Reconstruction
from sapwood.recovery.reconstruction.shares import share_zeros

__all__ = ["LayerReconstruction", "Reconstruction", "Rule", "num_units", "reconstruct", "share_zeros"]
