"""One class a kind of row: its fields, their bounds, and the name a reader sees in the table.

A kind is data here; what is done to a model for it lives in :mod:`sapwood.comparing.candidates` under the same name.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sapwood.registry import Registry
from sapwood.types import RecoverMethod

ROW_KINDS: Registry[type[CaseRow]] = Registry("kind of row")
"""Every kind of row a cases file may hold, by the word its ``kind`` field has."""


def _no_bool(value: Any) -> Any:
    """Refuses YAML's ``yes`` and ``true``, which would pass as 1, and numbers that nothing can count to."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("expected a number below 2^63")
    return value


def _as_list(value: Any) -> Any:
    """Lets ``layers: conv`` stand for ``layers: [conv]``."""
    return [value] if isinstance(value, str) else value


def _no_base_60(value: Any) -> Any:
    """Refuses what YAML makes of ``2:4`` without quotes: the number 124."""
    if isinstance(value, int):
        raise ValueError("expected a text; YAML reads 2:4 as a number, so write '2:4' in quotes")
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Sparsity = Annotated[Number, Field(ge=0.0, lt=1.0)]
Kept = Annotated[Number, Field(gt=0.0, le=1.0)]


class CaseRow(BaseModel):
    """What every kind of row has. Rows are frozen, and equal rows are the same case.

    Attributes:
        kind: Which kind of row it is.
        name: What the table calls it; made from the other fields where the file gives none.
        family: Rows that differ only in sparsity share it: one line in the plots.
        origin: Where the row came from (``"cases.yaml line 7 (row 2)"``), for messages; not a part of the case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    sweep: ClassVar[str] = "sparsity"
    """The field in which a list stands for a row each."""

    kind: str
    name: str = ""
    family: str = ""
    origin: str = Field(default="", exclude=True, repr=False)

    def default_family(self) -> str:
        """What the row's family is called where the file names none."""
        raise NotImplementedError(f"{type(self).__name__} names no family")

    def level(self) -> float | None:
        """How far the case goes within its family (the sparsity asked for), where that is a number."""
        return getattr(self, self.sweep, None)


class MaskFields(CaseRow):
    """The fields of :class:`sapwood.masks.MaskCase`."""

    method: str
    scope: Literal["local", "global"] = "local"
    layers: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)] = ("conv",)
    sparsity: Sparsity | None = None
    n: Annotated[float, BeforeValidator(_no_bool), Field(gt=0.0)] = 2.0
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


_LAYER_LABELS = {"bn": "BatchNorm"}


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


@ROW_KINDS.register("compact")
class CompactRow(MaskFields):
    """A mask of ``torch.nn.utils.prune``, and then everything removed that it left dead.

    Attributes:
        exact: Whether channels stay whose constant cannot be folded to the last bit, for it meets zero padding.

    Examples:
        >>> CompactRow(method="ln_structured", sparsity=0.1).default_family()
        'structured L2 · conv · compacted'
    """

    kind: Literal["compact"] = "compact"
    exact: bool = True

    def default_family(self) -> str:
        """The mask's, and what became of it."""
        return f"{super().default_family()} · {'compacted' if self.exact else 'compacted, borders folded'}"


@ROW_KINDS.register("prune")
class PruneRow(CaseRow):
    """Channels removed by :func:`sapwood.prune`, with all that hangs on them.

    Attributes:
        sparsity: The same fraction of every group goes; or else, as fractions kept,
        params: of the parameters,
        macs: of the multiply-accumulates,
        latency: of the latency measured on ``runtime``.
        criterion: What a channel is worth.
        recover: How accuracy comes back: ``none``, ``batchnorm``, ``reconstruct`` or ``distill``. This, and criteria
            that look at data, see pictures of the train split, without their labels.
        allocator: How the budget is shared out, where not as :func:`sapwood.prune` does by itself.

    Examples:
        >>> PruneRow(sparsity=0.5).default_family()
        'channels removed · L2'
        >>> PruneRow(latency=0.5, runtime="onnxruntime").default_family()
        'channels removed · L2 · latency on onnxruntime'
        >>> PruneRow(macs=0.5, criterion="obs", recover="reconstruct").default_family()
        'channels removed · obs · share of MACs · reconstruct'
    """

    kind: Literal["prune"] = "prune"
    sparsity: Sparsity | None = None
    params: Kept | None = None
    macs: Kept | None = None
    latency: Kept | None = None
    runtime: str = "torch"
    criterion: str = "l2"
    allocator: str | None = None
    recover: RecoverMethod = "none"
    round_to: Annotated[Whole, Field(ge=1)] = 1
    minimum: Annotated[Whole, Field(ge=1)] = 1

    def default_family(self) -> str:
        """By what the channels are chosen, how many, and to which multiple their number is rounded."""
        parts = ["channels removed", self.criterion.upper() if self.criterion in {"l1", "l2"} else self.criterion]
        if self.latency is not None:
            parts.append(f"latency on {self.runtime}")
        elif self.params is not None or self.macs is not None:
            parts.append("share of parameters" if self.macs is None else "share of MACs")
        if self.allocator is not None:
            parts.append(self.allocator)
        if self.round_to > 1:
            parts.append(f"multiples of {self.round_to}")
        if self.recover != "none":
            parts.append(self.recover)
        return " · ".join(parts)

    def level(self) -> float | None:
        """The fraction that goes."""
        kept = next((value for value in (self.latency, self.macs, self.params) if value is not None), None)
        return self.sparsity if kept is None else 1.0 - kept
