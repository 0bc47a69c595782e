"""A model of transformers as the other stages see it: token numbers or pictures in, its answer out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

MASK = "attention_mask"
NO_CACHE = "use_cache"
"""The argument that asks for what only the next call of a generation reads."""


Masking = Literal["as given", "all", "before"]
"""How a model is told which tokens count: as everyone tells it; or by a mask of which places each place looks at, which
transformers takes as it is. From the former it makes one itself, and first reads whether that is needed at all: other
calls for other texts."""


class TransformersNetwork(nn.Module):
    """Holds a model of transformers and returns its logits; a model without a head returns what transformers does.

    Attributes:
        network: The model itself, as ``from_pretrained`` gives it.
        names: What it reads, in the order of positional arguments.
        takes_cache: Whether it is told to keep no keys and values for the next call.
        masking: How it is told which tokens count: each looks at all of them, or at those before it.
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
        self.masking: Masking = "as given"
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
        if self.masking != "as given" and MASK in inputs and inputs[MASK].dim() == 2:
            inputs[MASK] = looked_at(inputs[MASK], before=self.masking == "before")
        outputs = self.network(**inputs)
        logits = getattr(outputs, "logits", None)
        return outputs if logits is None else logits


def looked_at(mask: Tensor, *, before: bool) -> Tensor:  # shapes: (B, L) -> (B, 1, 1 or L, L)
    """Which places each place looks at: all that count, or those of them that are not behind it.

    Examples:
        >>> looked_at(torch.tensor([[1, 1, 0]]), before=True).int().tolist()
        [[[[1, 0, 0], [1, 1, 0], [1, 1, 0]]]]
    """
    counted = mask[:, None, None, :].to(torch.bool)
    if not before:
        return counted
    length = mask.shape[1]
    return counted & torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
