"""transformers: folders as Hugging Face's hub has them, read without a download and without anyone's code."""

from sapwood.models.transformers.network import TransformersNetwork

__all__ = ["TransformersNetwork"]
