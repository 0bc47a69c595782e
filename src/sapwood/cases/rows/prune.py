"""Rows of kind ``prune``: channels removed with all that hangs on them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator

from sapwood.cases.rows.base import (
    ROW_KINDS,
    Candidate,
    CaseRow,
    Kept,
    Make,
    Sparsity,
    Whole,
    pictures_for,
    recovered_note,
)
from sapwood.types import RecoverMethod

if TYPE_CHECKING:
    from sapwood.goals import Calibration, Target
    from sapwood.pipeline import Pruned
    from sapwood.types import ModelBundle


TIME = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(us|ms|s)\s*", re.ASCII)
"""How a latency is written that is a time; :class:`sapwood.goals.Target` reads it."""


def _one_latency(value: Any) -> float | str:
    if isinstance(value, str) and TIME.fullmatch(value):
        return value
    with suppress(ValueError, OverflowError):
        if isinstance(value, int | float | str) and not isinstance(value, bool) and 0.0 < float(value) <= 1.0:
            return float(value)
    raise ValueError("expected one fraction kept, in (0, 1], or one time with its unit, as 10ms")


@ROW_KINDS.register("prune")
class PruneRow(CaseRow):
    """Channels removed by :func:`sapwood.prune`, with all that hangs on them.

    Attributes:
        sparsity: The fraction of every group that goes. A row has this or one of the next three.
        params: The fraction of the parameters that is kept; a list stands for a row each.
        macs: The fraction of the multiply-accumulates that is kept; likewise.
        latency: The fraction kept of the latency measured on ``runtime``; or a time, as ``10ms``. It is no list.
        runtime: Where the latency is measured.
        criterion: What a channel is worth; where none is said, as `sapwood prune` does.
        recover: How accuracy comes back: ``none``, ``batchnorm``, ``reconstruct`` or ``distill``. This, and criteria
            that look at data, see pictures of the train split, without their labels.
        allocator: How the budget is shared out, where not as :func:`sapwood.prune` does by itself.
        int8: The runtime on which the network is quantised and measured, as ``openvino-int8``; its ranges are from the
            same pictures. With a sparsity of 0 it is the dense network in int8.
        low_rank: Whether layers may become two of low rank, too; without pictures weights alone tell which.
        round_to: The multiple that widths are rounded to; where none is said, as `sapwood prune` does.
        minimum: The fewest channels that stay in a group.

    Examples:
        >>> PruneRow(sparsity=0.5).default_family()
        'channels removed · L2'
        >>> PruneRow(latency=0.5, runtime="onnxruntime").default_family()
        'channels removed · L2 · latency kept on onnxruntime'
        >>> PruneRow(macs=0.5, criterion="obs", recover="reconstruct").default_family()
        'channels removed · obs · MACs kept · reconstruct'
        >>> PruneRow(macs=0.5, int8="openvino-int8").default_family()
        'channels removed · L2 · MACs kept · openvino-int8'
        >>> PruneRow(macs=0.5, low_rank=True).default_family()
        'channels removed · obs · MACs kept · low rank'
    """

    also_sweep: ClassVar[tuple[str, ...]] = ("params", "macs")

    kind: Literal["prune"] = "prune"
    sparsity: Sparsity | None = None
    params: Kept | None = None
    macs: Kept | None = None
    latency: Annotated[float | str, PlainValidator(_one_latency)] | None = None
    runtime: str = "torch"
    criterion: str | None = None
    allocator: str | None = None
    recover: RecoverMethod = "none"
    int8: Literal["onnxruntime-int8", "openvino-int8"] | None = None
    low_rank: bool = False
    round_to: Annotated[Whole, Field(ge=1)] | None = None
    minimum: Annotated[Whole, Field(ge=1)] = 1

    def default_family(self) -> str:
        """By what the channels are chosen, how many, and to which multiple their number is rounded."""
        from sapwood.goals import default_criterion

        criterion = self.criterion or default_criterion(low_rank=self.low_rank, pictures=True)
        parts = ["channels removed", criterion.upper() if criterion in {"l1", "l2"} else criterion]
        if self.latency is not None:
            is_time = isinstance(self.latency, str)
            parts.append(f"{self.latency} latency on {self.runtime}" if is_time else f"latency kept on {self.runtime}")
        elif self.params is not None or self.macs is not None:
            parts.append("parameters kept" if self.macs is None else "MACs kept")
        if self.allocator is not None:
            parts.append(self.allocator)
        if self.low_rank:
            parts.append("low rank")
        if self.round_to is not None and self.round_to > 1:
            parts.append(f"multiples of {self.round_to}")
        if self.recover != "none":
            parts.append(self.recover)
        if self.int8 is not None:
            parts.append(self.int8)
        return " · ".join(parts)

    def level(self) -> float | None:
        """The fraction that goes; none of a time, which is that of another fraction on every machine."""
        if isinstance(self.latency, str):
            return None
        kept = self._kept()
        return self.sparsity if kept is None else 1.0 - kept

    def asked(self) -> float | None:
        """The fraction as the field has it, which of MACs, parameters and latencies is that kept."""
        kept = self._kept()
        return self.level() if kept is None else kept

    def _kept(self) -> float | None:
        """The fraction kept that the goal is; None of a sparsity and of a time."""
        given = next((value for value in (self.latency, self.macs, self.params) if value is not None), None)
        return None if isinstance(given, str) else given

    def looks_at_pictures(self) -> bool:
        """Where it recovers or is quantised, its criterion looks at data, or layers become two."""
        from sapwood.criteria import CRITERIA

        named = self.criterion or "l2"  # the default looks at pictures only where layers become two
        needed = named in CRITERIA and CRITERIA[named].needs
        return self.recover != "none" or self.int8 is not None or self.low_rank or bool(needed)

    def prepare(self) -> Make:
        """Returns what removes channels of a copy of a model."""
        from sapwood.goals import Target

        target = Target(sparsity=self.sparsity, params=self.params, macs=self.macs, latency=self.latency)

        def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
            if self.recover != "none":
                pictures_for(f"recover: {self.recover}", calibration)
            pruned = self._pruned(dense, target, calibration)
            bundle = replace(dense, model=pruned.model)
            return Candidate(bundle, tuple(self._notes(pruned)), measured=self._quantised(bundle, calibration))

        return make

    def _quantised(self, bundle: ModelBundle, calibration: Calibration | None) -> ModelBundle | None:
        """The network as the row's runtime runs it in int8."""
        import torch

        from sapwood.pipeline import on_runtime

        if self.int8 is None:
            return None
        pictures = [batch.inputs for batch in pictures_for(f"int8: {self.int8}", calibration).batches]
        return on_runtime(bundle, self.int8, pictures=lambda: pictures, threads=torch.get_num_threads())

    def _pruned(self, dense: ModelBundle, target: Target, calibration: Calibration | None) -> Pruned:
        """The model without its channels, with its accuracy back as far as the row says."""
        from sapwood.goals import Deployment, Limits, recovery_batches
        from sapwood.pipeline import prune, recover

        pruned = prune(
            dense.model,
            dense.example_inputs,
            target=target,
            low_rank=self.low_rank,
            criterion=self.criterion,
            allocator=self.allocator,
            calibration=calibration,
            limits=Limits(round_to=self.round_to, minimum=self.minimum),
            deployment=None if self.latency is None else Deployment(self.runtime),
        )
        if calibration is None or self.recover == "none":
            return pruned
        pictures = recovery_batches(calibration)
        return recover(dense, pruned, pictures.own, self.recover, others=pictures.others)

    def _notes(self, pruned: Pruned) -> list[str]:
        from sapwood.report import apart_text

        notes = [apart_text(pruned.verification.max_abs_error, "the network with these channels masked")]
        if pruned.latency is not None:
            notes.append(f"measured {pruned.latency.ratio:.3f} of the dense network's time on {self.runtime}")
        if self.int8 is not None:
            notes.append(f"accuracy and time are those of int8 on {self.int8}; size and work those of float32")
        if pruned.recovery is not None:
            notes.append(recovered_note(pruned.recovery))
        return notes
