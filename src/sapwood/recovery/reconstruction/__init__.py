"""Accuracy back in closed form: layer by layer, from pictures without labels."""

from sapwood.recovery.reconstruction.masked import Rule
from sapwood.recovery.reconstruction.reconstruct import LayerReconstruction, Reconstruction, reconstruct

__all__ = ["LayerReconstruction", "Reconstruction", "Rule", "reconstruct"]
