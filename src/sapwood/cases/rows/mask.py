"""Rows of kind ``mask``: a mask of ``torch.nn.utils.prune``, made permanent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from sapwood.cases.rows.base import (
    ROW_KINDS,
    Candidate,
    CaseRow,
    Make,
    OpenNumber,
    Sparsity,
    Whole,
    pictures_for,
    recovered_note,
)
from sapwood.errors import ConfigError
from sapwood.types import RecoverMethod

if TYPE_CHECKING:
    from torch import nn

    from sapwood.goals import Calibration
    from sapwood.masks import MaskCase
    from sapwood.pipeline import MaskingOutcome
    from sapwood.pipeline.masking import RecoverMasked
    from sapwood.recovery import Recovered
    from sapwood.types import ModelBundle

MOST_NAMED = 3
"""How many parameters a note names before it gives their number alone."""

SOLVING = ("reconstruct", "distill")
"""The ways of recovery that solve layers."""

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
    """The fields of :class:`sapwood.masks.MaskCase`, and how accuracy comes back.

    Attributes:
        method: The mask method. With ``recover: reconstruct`` or ``distill`` it may be left out: which weights stay is
            then chosen while layers are solved.
        scope: Whether each layer loses the fraction, or all layers together.
        layers: Which parameters are masked: ``conv``, ``bn``, ``linear``, ``all``.
        sparsity: The fraction removed, in [0, 1); a list stands for a row each.
        n: Of ``ln_structured``: the order of the norm.
        dim: Of structured methods: the dimension whose slices go; 0 is a layer's output channels.
        seed: Of random methods.
        pattern: Only parameters whose name fits, as ``layers.1*.weight``.
        mask_file: Of ``custom_from_mask``: ``.safetensors`` or ``.npz``, relative to the file of cases.
        criterion: Of ``scored``: what a weight is worth.
        budget: Of ``scored``: how layers share the sparsity; ``uniform``, or ``lamp_macs`` where no method is named.
        blocks: Of ``scored``: which weights go together, as ``'2:4'`` (in quotes) or ``2x1``.
        recover: How the weights that stay take over the work of those that go: ``none``, ``batchnorm``,
            ``reconstruct`` or ``distill``. This, and a ``criterion`` that looks at data, see pictures of the train
            split; recovery does not see their labels.
        reselect: With ``method: scored`` and ``recover: reconstruct`` or ``distill``: the mask only says how many
            weights each layer keeps; which ones, is chosen together with what they become.
    """

    file_fields: ClassVar[tuple[str, ...]] = ("mask_file",)

    method: str | None = None
    scope: Literal["local", "global"] = "local"
    layers: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)] = ("conv",)
    sparsity: Sparsity | None = None
    n: Annotated[OpenNumber, Field(gt=0.0)] = 2.0
    dim: Whole = 0
    seed: Annotated[Whole, Field(ge=0)] = 0
    pattern: str | None = None
    mask_file: str | None = None
    criterion: str = "magnitude"
    budget: str | None = None
    blocks: Annotated[str, BeforeValidator(_no_base_60)] = "unstructured"
    recover: RecoverMethod = "none"
    reselect: bool | None = None

    @model_validator(mode="after")
    def _named_or_chosen(self) -> MaskFields:
        """Refuses a row that neither names a method nor solves layers."""
        if self.method is None and not self.solves:
            missing = InitErrorDetails(type="missing", loc=("method",), input={})
            raise ValidationError.from_exception_data(type(self).__name__, [missing])
        return self

    @property
    def solves(self) -> bool:
        """Whether layers are solved behind the mask."""
        return self.recover in SOLVING

    @property
    def reselects(self) -> bool:
        """Whether it is chosen meanwhile which weights stay."""
        if self.reselect is None:
            return self.method is None and self.mask_case().method == "scored"
        return self.reselect

    def looks_at_pictures(self) -> bool:
        """Where it recovers, or its criterion looks at data."""
        return self.recover != "none" or self.scores_by_pictures()

    def scores_by_pictures(self) -> bool:
        """Whether the mask itself is made with pictures."""
        from sapwood.pipeline import masks_by_pictures

        return masks_by_pictures(method=self.method or "", criterion=self.criterion)

    def default_family(self) -> str:
        """Method, layers and whatever else differs from the defaults."""
        parts = [self._method_label(), " + ".join(_LAYER_LABELS.get(layer, layer) for layer in self.layers)]
        if self.pattern is not None:
            parts.append(self.pattern)
        if self.dim != 0 and "structured" in (self.method or "").split("_"):
            parts.append(f"dim {self.dim}")
        if self.seed != 0:
            parts.append(f"seed {self.seed}")
        if self.recover != "none":
            parts.append(self.recover)
        return " · ".join(parts)

    def _method_label(self) -> str:
        if self.method is None:
            return "solved masks"
        scope = "global" if self.scope == "global" else "per-layer"
        labels = {
            "l1_unstructured": f"{scope} L1",
            "random_unstructured": f"{scope} random",
            "ln_structured": f"structured L{self.n:g}",
            "random_structured": "structured random",
            "custom_from_mask": f"masks of {self.mask_file}",
            "scored": " ".join(
                [self.budget or "uniform", self.criterion, *([self.blocks] * (self.blocks != "unstructured"))]
            ),
        }
        return labels.get(self.method, f"{scope} {self.method}")

    def mask_case(self) -> MaskCase:
        """What the fields say about the mask.

        Raises:
            ConfigError: If they do not go together; see :class:`sapwood.masks.MaskCase`.
            MaskError: If the mask file does not exist.
        """
        from sapwood.masks import MaskCase
        from sapwood.pipeline import settled_method

        is_open = self.scope == "local" and self.mask_file is None
        method, budget = settled_method(self.method, self.budget, solved=self.solves and is_open, blocks=self.blocks)
        if self.reselect and not (method == "scored" and self.solves):
            raise ConfigError(
                "reselect chooses while layers are solved; expected method: scored and recover: reconstruct or distill"
            )
        return MaskCase(
            method=method,
            sparsity=self.sparsity,
            scope=self.scope,
            layers=self.layers,
            pattern=self.pattern,
            n=self.n,
            dim=self.dim,
            seed=self.seed,
            mask_file=self.mask_file,
            criterion=self.criterion,
            budget=budget,
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
        from sapwood.models import copy_model

        self.mask_case()

        def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
            live, done = masked(dense, self, calibration)
            model = copy_model(live)
            remove_masks_(model)
            bundle, notes = replace(dense, model=model), mask_notes(done)
            if self.recover != "none":  # it is kept: to make it again takes as long as to recover it
                return Candidate(bundle, notes, lambda: live)
            return Candidate(bundle, notes, lambda: masked(dense, self, calibration)[0])

        return make


def masked(dense: ModelBundle, row: MaskFields, calibration: Calibration | None) -> tuple[nn.Module, MaskingOutcome]:
    """A copy of the model with its masks live, its accuracy back as far as the row says.

    Raises:
        ConfigError: If that takes pictures, and there are none.
    """
    from sapwood.models import copy_model
    from sapwood.pipeline import mask_

    case = row.mask_case()
    bundle = replace(dense, model=copy_model(dense.model))
    scored = pictures_for(f"criterion: {row.criterion}", calibration) if row.scores_by_pictures() else None
    recovers = row.recover != "none"
    recover = _recovery(row, case, pictures_for(f"recover: {row.recover}", calibration)) if recovers else None
    return bundle.model, mask_(bundle, case, calibration=scored, recover=recover)


def _recovery(row: MaskFields, case: MaskCase, calibration: Calibration) -> RecoverMasked:
    """What gives a masked model's weights the work of those that went."""
    from sapwood.goals import recovery_batches
    from sapwood.pipeline import recover_masked_

    pictures = recovery_batches(calibration)
    pattern = case.unit_pattern if row.reselects else None

    def recover(masked: ModelBundle, dense: nn.Module) -> Recovered | None:
        return recover_masked_(
            masked, dense, pictures.own, row.recover, pattern=pattern, others=pictures.others, seed=row.seed
        )

    return recover


def mask_notes(done: MaskingOutcome) -> tuple[str, ...]:
    """What a reader should know about a mask."""
    skipped = _folded(done.record.skipped, "parameters could not be masked")
    recovered = () if done.recovery is None else (recovered_note(done.recovery),)
    return (*skipped, *_folded(done.record.notes, "more remarks"), *recovered)


def _folded(sentences: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The first few sentences, and the number of the rest."""
    if len(sentences) <= MOST_NAMED:
        return sentences
    return (*sentences[:MOST_NAMED], f"and {len(sentences) - MOST_NAMED} {what}")
