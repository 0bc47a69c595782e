"""What models of transformers need beside being modules: the files that build them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from torch import nn

from sapwood.models.framework import FRAMEWORKS, Framework, Tokenizer
from sapwood.models.transformers.beside import OWN_FILES, TOKENIZER_NAME
from sapwood.models.transformers.loader import NAME, transformers_bundle
from sapwood.models.transformers.network import Masking, TransformersNetwork
from sapwood.models.transformers.tokens import FolderTokenizer
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

    def notes(self, model: TransformersNetwork) -> Mapping[str, Any]:
        """How it is told which tokens count."""
        return {"masking": model.masking}

    def take_notes_(self, model: TransformersNetwork, notes: Mapping[str, Any]) -> None:
        """Tells it as it was told."""
        if notes.get("masking") in get_args(Masking):
            model.masking = notes["masking"]

    def tokenizer(self, model: TransformersNetwork) -> Tokenizer | None:
        """That of the folder."""
        network: Any = model.network
        if TOKENIZER_NAME not in model.files:
            return None
        pad = getattr(network.config, "pad_token_id", None)
        return FolderTokenizer(model.files, model.names, pad, type(network).__name__)


FRAMEWORKS.register(NAME)(Transformers())
