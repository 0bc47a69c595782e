"""Options of the verbs that choose channels: the target, what widths may be, what scores them, where it will run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.common import OnBad, open_data, open_pictures, progress_bar
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sapwood.masks import MaskCase, MaskRecord, Pattern
    from sapwood.pipeline import (
        Calibration,
        Deployment,
        Limits,
        Pruned,
        Scorer,
        Sensitivity,
        SparsityOutcome,
        Target,
    )
    from sapwood.recovery import Recovered
    from sapwood.types import ModelBundle


class Figure(str, Enum):
    """What sensitivity measures."""

    divergence = "divergence"
    loss = "loss"
    accuracy = "accuracy"


class Labels(str, Enum):
    """Where the calibration loss takes its labels from."""

    data = "data"
    own = "own"


class Recover(str, Enum):
    """How accuracy comes back."""

    none = "none"
    batchnorm = "batchnorm"
    reconstruct = "reconstruct"
    distill = "distill"


CriterionOption = Annotated[
    str,
    typer.Option(
        "--criterion",
        help="What a channel is worth: `norm`, `l1`, `l2`, `random`, `lamp`, `fpgm`, `bn_scale`; with --data also "
        "`obs`, `taylor`, `taylor_activation`, `fisher`, `fisher_activation`, `activation_mean`, `apoz`, `wanda`, "
        "`movement`.",
    ),
]
AllocatorOption = Annotated[
    str | None,
    typer.Option(
        "--allocator",
        help="How the budget is shared out: `uniform`, `global` (one threshold) or `knapsack`. `uniform` for "
        "--sparsity and `knapsack` for everything else if not given.",
    ),
]
CalibrationDataOption = Annotated[
    Path | None, typer.Option("--data", help="Pictures for criteria that look at data; see `sapwood eval`.")
]
CalibrationSplitOption = Annotated[str, typer.Option("--split", help="Which part of the data set.")]
NumPicturesOption = Annotated[int, typer.Option("--num-pictures", min=1, help="Pictures that are looked at.")]
SensitivityOption = Annotated[
    Figure | None,
    typer.Option(
        "--sensitivity",
        help="Prune every group alone on the pictures of --data and measure: how far the outputs move (`divergence`, "
        "no labels), the `loss`, or the `accuracy`.",
    ),
]
LabelsOption = Annotated[
    Labels, typer.Option("--labels", help="`data`: the data set's; `own`: none, what the model itself finds.")
]
RecoverOption = Annotated[
    Recover,
    typer.Option(
        "--recover",
        help="Give the layers that stay the work of what went, from the pictures of --data without their labels: "
        "`reconstruct` in closed form, `distill` that and a short descent to the dense network's outputs; `batchnorm` "
        "only measures BatchNorm statistics anew.",
    ),
]
RecoverPicturesOption = Annotated[
    int, typer.Option("--recover-pictures", min=1, help="Pictures for --recover, at most.")
]
MOST_PICTURES = 1000
"""Pictures that --recover looks at, at most, unless told otherwise."""
MEASURED_ON = 32
"""Pictures, at most, on which each layer is masked alone."""
RecoverStepsOption = Annotated[int, typer.Option("--recover-steps", min=1, help="Steps of --recover distill.")]
SeedOption = Annotated[
    int, typer.Option("--seed", help="Chooses the pictures, the places looked at, and the order of --recover.")
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="Where latency is measured: `torch`, `torch-compile`, `onnxruntime`, `openvino` or `sapwood`. With "
        "another goal than --latency, the result is timed there layer by layer.",
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch", min=1, help="Examples a call while timing.")]
RuntimeThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads the runtime may use; all cores if not given.")
]
BoundsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bounds",
        metavar="GLOB=LOW:HIGH",
        help="Smallest and largest fraction of a layer's channels that stay, as `layers.3=0.5:1`; may be repeated.",
    ),
]
EqualOption = Annotated[
    list[str] | None,
    typer.Option("--equal", metavar="A,B", help="Layers that keep equal numbers of channels; may be repeated."),
]
WholeHeadsOption = Annotated[
    bool, typer.Option("--whole-heads", help="Attention loses whole heads instead of narrowing each.")
]
RoundToOption = Annotated[
    int | None,
    typer.Option(
        "--round-to",
        min=1,
        help="Multiple that each width should be of; 1 is any. Without: multiples of 8 where that meets the target.",
    ),
]
ToleranceOption = Annotated[
    float | None,
    typer.Option("--tolerance", help="How far the measured latency may be from --latency, as a fraction; 0.05."),
]
AtMostOption = Annotated[bool, typer.Option("--at-most", help="Any network faster than --latency will do.")]
MinimumOption = Annotated[int, typer.Option("--minimum", min=1, help="The fewest channels that stay in a group.")]


def make_target(*, tolerance: float | None = None, at_most: bool = False, **goals: float | None) -> Target:
    """What the pruned model should be.

    Raises:
        ConfigError: If there is not exactly one goal; names the options.
    """
    from sapwood.pipeline import Target

    given = [f"--{name} {value:g}" for name, value in goals.items() if value is not None]
    if len(given) != 1:
        expected = ", ".join(f"--{name}" for name in goals)
        raise ConfigError(f"got {' and '.join(given) or 'no goal'}; expected exactly one of {expected}")
    if goals.get("latency") is None:
        for name, given_one in (("--tolerance", tolerance is not None), ("--at-most", at_most)):
            if given_one:
                raise ConfigError(f"{name} is of --latency; the goal is {given[0]}")
        return Target(sparsity=goals.get("sparsity"), params=goals.get("params"), macs=goals.get("macs"))
    latency = goals["latency"]
    if tolerance is None:
        return Target(latency=latency, at_most=at_most)
    return Target(latency=latency, tolerance=tolerance, at_most=at_most)


def make_limits(
    round_to: int | None, minimum: int, bounds: list[str] | None, equal: list[str] | None, whole_heads: bool
) -> Limits:
    """What the options say about widths."""
    from sapwood.pipeline import Limits

    found = dict(_bound(text) for text in bounds or ())
    sets = tuple(tuple(part.strip() for part in text.split(",")) for text in equal or ())
    for names, text in zip(sets, equal or (), strict=True):
        if len(names) < 2 or not all(names):
            raise ConfigError(f"--equal {text!r}; expected two or more layers with commas between them")
    return Limits(round_to=round_to, minimum=minimum, bounds=found, equal=sets, whole_heads=whole_heads)


def make_calibration(
    bundle: ModelBundle,
    data: Path | None,
    split: str,
    num_pictures: int,
    labels: Labels,
    *,
    seed: int = 0,
    on_bad: OnBad = OnBad.error,
) -> Calibration | None:
    """Reads the pictures that criteria look at; None without ``--data``."""
    if data is None:
        return None
    from sapwood.pipeline import Calibration
    from sapwood.tasks import calibration_batches, task_loss

    opened = open_pictures if labels is Labels.own else open_data
    dataset = opened(bundle, str(data), split, on_bad)
    batches = calibration_batches(bundle, dataset, num_pictures=num_pictures, seed=seed)
    return Calibration(list(batches), task_loss(bundle, labels.value), dataset)


@dataclass(frozen=True)
class RecoveryOptions:
    """What the options say about recovery.

    Raises:
        ConfigError: If it needs pictures and there are none.
    """

    method: Recover
    data: Path | None
    split: str
    num_pictures: int
    steps: int
    seed: int

    def __post_init__(self) -> None:
        if self.wanted and self.data is None:
            raise ConfigError(
                f"--recover {self.method.value} looks at pictures (labels are not needed); expected --data"
            )

    @property
    def wanted(self) -> bool:
        """Whether anything is recovered."""
        return self.method is not Recover.none

    def pruned(self, bundle: ModelBundle, result: Pruned) -> Pruned:
        """Recovers what was pruned of ``bundle``."""
        if not self.wanted:
            return result
        from sapwood.pipeline import recover

        with self._options(bundle) as options:
            return recover(bundle, result, **options)

    def masked_(self, bundle: ModelBundle, dense: nn.Module, pattern: Pattern | None) -> Recovered | None:
        """Recovers a masked model in place; with ``pattern`` it is also chosen anew which weights stay."""
        if not self.wanted:
            return None
        from sapwood.pipeline import recover_masked_

        with self._options(bundle) as options:
            return recover_masked_(bundle, dense, pattern=pattern, **options)

    @contextmanager
    def _options(self, bundle: ModelBundle) -> Iterator[dict[str, Any]]:
        """The pictures, whose labels are not looked at, and the rest, with a bar a stage."""
        from sapwood.recovery import DistillConfig
        from sapwood.tasks import calibration_batches

        dataset = open_pictures(bundle, str(self.data), self.split, OnBad.error)
        batches = calibration_batches(bundle, dataset, num_pictures=self.num_pictures, seed=self.seed)
        with ExitStack() as bars:
            yield {
                "batches": [batch.inputs for batch in batches],
                "method": self.method.value,
                "config": DistillConfig(steps=self.steps, seed=self.seed),
                "seed": self.seed,
                "progress": lambda stage: bars.enter_context(progress_bar(stage)),
            }


def measure_sensitivity(
    bundle: ModelBundle,
    figure: Figure,
    calibration: Calibration | None,
    score: Scorer,
    kept_whole: dict[str, str],
    *,
    whole_heads: bool,
    recovered: bool = False,
) -> Sensitivity:
    """Prunes every group alone and measures what that does on the calibration pictures.

    Where the network will be ``recovered``, the layers that read the group are solved anew first.
    """
    from sapwood import pipeline

    if calibration is None:
        raise ConfigError("--sensitivity measures the model with each group pruned alone; expected --data")
    measure, name = pipeline.sensitivity_measure(bundle, figure.value, calibration)
    with progress_bar("sensitivity") as progress:
        return pipeline.sensitivity(
            bundle.model,
            bundle.example_inputs,
            measure,
            score=score,
            figure=name,
            more_is_better=figure is Figure.accuracy,
            ignore=kept_whole,
            whole_heads=whole_heads,
            compensate=pipeline.compensation(bundle.model, calibration, score) if recovered else None,
            progress=progress,
        )


def make_deployment(
    runtime: str | None, threads: int | None, batch: int | None, *, needed: bool = True
) -> Deployment | None:
    """Where the model will run: eager PyTorch if that is ``needed`` and not said, else None.

    Raises:
        ConfigError: If there is no such runtime.
        MissingDependencyError: If its package is not installed.
    """
    from sapwood.pipeline import Deployment
    from sapwood.runtime import RUNTIMES

    if runtime is None and not needed:
        return None
    name = runtime or "torch"
    RUNTIMES[name].version()
    return Deployment(name, threads, batch)


def mask_to_latency_(
    bundle: ModelBundle,
    case: MaskCase,
    latency: float,
    deployment: Deployment,
    *,
    scores: Mapping[str, Tensor] | None,
    calibration: Calibration | None,
) -> tuple[MaskRecord, SparsityOutcome]:
    """Masks a model in place to a latency; harm is the outputs' divergence where there are pictures."""
    from sapwood import pipeline

    measure, figure = None, "share of the squared scores that goes"
    if calibration is not None:
        batches = list(calibration.batches)
        few = batches[: max(1, MEASURED_ON // max(1, len(batches[0].inputs)))]
        measure, figure = pipeline.sensitivity_measure(bundle, "divergence", replace(calibration, batches=few))
    bench = pipeline.Bench.of(bundle.example_inputs, deployment)
    with progress_bar("masking") as progress:
        return pipeline.mask_to_latency_(
            bundle.model,
            case,
            latency,
            bench,
            scores=scores,
            measure=measure,
            figure=figure,
            progress=progress,
        )


def as_options(values: dict[str, Any]) -> dict[str, Any]:
    """Options for a record: plain values, those that were not given left out."""
    return {
        name: value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if value is not None
    }


def _bound(text: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = text.rpartition("=")
    low, _, high = numbers.partition(":")
    wrong = ConfigError(f"--bounds {text!r}; expected GLOB=LOW:HIGH, as layers.3=0.5:1")
    if not name:
        raise wrong
    try:
        return name, (float(low), float(high))
    except ValueError:
        raise wrong from None
