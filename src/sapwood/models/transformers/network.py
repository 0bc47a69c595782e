"""A model of transformers as the other stages see it: token numbers or pictures in, its answer out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

NO_CACHE = "use_cache"
"""The argument that asks for what only the next call of a generation reads."""


class TransformersNetwork(nn.Module):
    """Holds a model of transformers and returns its logits; a model without a head returns what transformers does.

    Attributes:
        network: The model itself, as ``from_pretrained`` gives it.
        names: What it reads, in the order of positional arguments.
        takes_cache: Whether it is told to keep no keys and values for the next call.
        files: The text files, by name, that build the dense model and its tokenizer again; they are saved beside
            its tensors.
    """

    def __init__(
        self, network: nn.Module, names: tuple[str, ...], takes_cache: bool, files: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.takes_cache = takes_cache
        self.files = dict(files or {})
        self.train(network.training)

    def forward(self, *given: Tensor, **named: Tensor) -> Any:
        """Returns what the model says.

        Args:
            given: By position, in the order of :attr:`names`: token numbers, shape (B, L), and the mask of those that
                count; or pictures, shape (B, C, H, W).
            named: The same by name.

        Returns:
            Logits, of a classifier of shape (B, classes), of a language model (B, L, vocabulary); the model's own
            output object where it has no logits.
        """
        inputs: dict[str, Any] = {**dict(zip(self.names, given, strict=False)), **named}
        if self.takes_cache:
            inputs[NO_CACHE] = False
        outputs = self.network(**inputs)
        logits = getattr(outputs, "logits", None)
        return outputs if logits is None else logits
