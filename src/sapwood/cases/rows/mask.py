"""Rows of kind ``mask``: a mask of ``torch.nn.utils.prune``, made permanent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from sapwood.cases.rows.base import ROW_KINDS, Candidate, CaseRow, Make, OpenNumber, Sparsity, Whole

if TYPE_CHECKING:
    from torch import nn

    from sapwood.goals import Calibration
    from sapwood.masks import MaskCase, MaskRecord
    from sapwood.types import ModelBundle

MOST_NAMED = 3
"""How many parameters a note names before it gives their number alone."""

_LAYER_LABELS = {"bn": "BatchNorm"}


def _as_list(value: Any) -> Any:
    """Lets ``layers: conv`` stand for ``layers: [conv]``."""
    return [value] if isinstance(value, str) else value


def _no_base_60(value: Any) -> Any:
    """Refuses what YAML makes of ``2:4`` without quotes: the number 124."""
    if isinstance(value, int):
        raise ValueError("expected a text; YAML reads 2:4 as a number, so write '2:4' in quotes")
    return value


class MaskFields(CaseRow):
    """The fields of :class:`sapwood.masks.MaskCase`.

    Attributes:
        method: The mask method.
        scope: Whether each layer loses the fraction, or all layers together.
        layers: Which parameters are masked: ``conv``, ``bn``, ``linear``, ``all``.
        sparsity: The fraction removed, in [0, 1); a list stands for a row each.
        n: Of ``ln_structured``: the order of the norm.
        dim: Of structured methods: the dimension whose slices go; 0 is a layer's output channels.
        seed: Of random methods.
        pattern: Only parameters whose name fits, as ``layers.1*.weight``.
        mask_file: Of ``custom_from_mask``: ``.safetensors`` or ``.npz``, relative to the file of cases.
        criterion: Of ``scored``: what a weight is worth.
        budget: Of ``scored``: how layers share the sparsity.
        blocks: Of ``scored``: which weights go together, as ``'2:4'`` (in quotes) or ``2x1``.
    """

    file_fields: ClassVar[tuple[str, ...]] = ("mask_file",)

    method: str
    scope: Literal["local", "global"] = "local"
    layers: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)] = ("conv",)
    sparsity: Sparsity | None = None
    n: Annotated[OpenNumber, Field(gt=0.0)] = 2.0
    dim: Whole = 0
    seed: Annotated[Whole, Field(ge=0)] = 0
    pattern: str | None = None
    mask_file: str | None = None
    criterion: str = "magnitude"
    budget: str = "uniform"
    blocks: Annotated[str, BeforeValidator(_no_base_60)] = "unstructured"

    def default_family(self) -> str:
        """Method, layers and whatever else differs from the defaults."""
        parts = [self._method_label(), " + ".join(_LAYER_LABELS.get(layer, layer) for layer in self.layers)]
        if self.pattern is not None:
            parts.append(self.pattern)
        if self.dim != 0 and "structured" in self.method.split("_"):
            parts.append(f"dim {self.dim}")
        if self.seed != 0:
            parts.append(f"seed {self.seed}")
        return " · ".join(parts)

    def _method_label(self) -> str:
        scope = "global" if self.scope == "global" else "per-layer"
        labels = {
            "l1_unstructured": f"{scope} L1",
            "random_unstructured": f"{scope} random",
            "ln_structured": f"structured L{self.n:g}",
            "random_structured": "structured random",
            "custom_from_mask": f"masks of {self.mask_file}",
            "scored": " ".join([self.budget, self.criterion, *([self.blocks] * (self.blocks != "unstructured"))]),
        }
        return labels.get(self.method, f"{scope} {self.method}")

    def mask_case(self) -> MaskCase:
        """What the fields say about the mask.

        Raises:
            ConfigError: If they do not go together; see :class:`sapwood.masks.MaskCase`.
            MaskError: If the mask file does not exist.
        """
        from sapwood.masks import MaskCase

        return MaskCase(
            method=self.method,
            sparsity=self.sparsity,
            scope=self.scope,
            layers=self.layers,
            pattern=self.pattern,
            n=self.n,
            dim=self.dim,
            seed=self.seed,
            mask_file=self.mask_file,
            criterion=self.criterion,
            budget=self.budget,
            blocks=self.blocks,
        )


@ROW_KINDS.register("mask")
class MaskRow(MaskFields):
    """A mask of ``torch.nn.utils.prune``.

    Examples:
        >>> MaskRow(method="l1_unstructured", scope="global", sparsity=0.5).default_family()
        'global L1 · conv'
        >>> MaskRow(method="ln_structured", n=1, sparsity=0.1).default_family()
        'structured L1 · conv'
    """

    kind: Literal["mask"] = "mask"

    def prepare(self) -> Make:
        """Returns what masks a copy of a model and makes the zeros permanent."""
        from sapwood.masks import remove_masks_

        case = self.mask_case()

        def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
            del calibration
            model, record = masked(dense, case)
            remove_masks_(model)
            return Candidate(replace(dense, model=model), mask_notes(record), lambda: masked(dense, case)[0])

        return make


def masked(dense: ModelBundle, case: MaskCase) -> tuple[nn.Module, MaskRecord]:
    """A copy of the model with its masks live."""
    from sapwood.masks import apply_masks_
    from sapwood.models import copy_model

    model = copy_model(dense.model)
    return model, apply_masks_(model, case)


def mask_notes(record: MaskRecord) -> tuple[str, ...]:
    """What a reader should know about a mask."""
    return (*_folded(record.skipped, "parameters could not be masked"), *_folded(record.notes, "more remarks"))


def _folded(sentences: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The first few sentences, and the number of the rest."""
    if len(sentences) <= MOST_NAMED:
        return sentences
    return (*sentences[:MOST_NAMED], f"and {len(sentences) - MOST_NAMED} {what}")
