"""What models of transformers need beside being modules: the files that build them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from sapwood.models.framework import FRAMEWORKS, Framework
from sapwood.models.transformers.beside import OWN_FILES
from sapwood.models.transformers.loader import NAME, transformers_bundle
from sapwood.models.transformers.network import TransformersNetwork
from sapwood.types import ModelBundle


class Transformers(Framework[TransformersNetwork]):
    """Folders with a ``config.json``."""

    title: ClassVar[str] = "transformers"
    own_files: ClassVar[tuple[str, ...]] = OWN_FILES

    def owns(self, model: nn.Module) -> bool:
        """Whether it holds a model of transformers, as :func:`sapwood.load_model` gives it."""
        return isinstance(model, TransformersNetwork)

    def bundle(self, model: TransformersNetwork) -> ModelBundle:
        """Its configuration says what it reads, its class what it is for."""
        return transformers_bundle(model)

    def describe(self, model: TransformersNetwork) -> Mapping[str, str]:
        """The configuration of the dense model, its tokenizer, and a word to whoever finds the directory."""
        return dict(model.files)


FRAMEWORKS.register(NAME)(Transformers())
