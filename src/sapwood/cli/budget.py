"""Options of the verbs that choose channels: the target, what widths may be, what scores them, where it will run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from sapwood.cli.common import note_threads, progress_bar
from sapwood.cli.fractions import fraction
from sapwood.cli.output import complain
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.goals import Depth
    from sapwood.pipeline import Calibration, Deployment, Limits, Scorer, Sensitivity, Target
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
    str | None,
    typer.Option(
        "--criterion",
        show_default="l2; with --low-rank and --data obs",
        help="What a channel is worth: `norm`, `l1`, `l2`, `random`, `lamp`, `fpgm`, `bn_scale`; with --data also "
        "`obs`, `taylor`, `taylor_activation`, `fisher`, `fisher_activation`, `activation_mean`, `apoz`, `wanda`, "
        "`movement`.",
    ),
]
AllocatorOption = Annotated[
    str | None,
    typer.Option(
        "--allocator",
        show_default="by goal",
        help="How the budget is shared out: `uniform`, `global` (one threshold) or `knapsack`. `uniform` for "
        "--sparsity and `knapsack` for everything else if not given.",
    ),
]
CalibrationDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Pictures for criteria that look at data, and for --recover; see `sapwood eval`. Of `A+B`, those of A "
        "are drawn first, and what helps is judged by them alone.",
    ),
]
CalibrationSplitOption = Annotated[str, typer.Option("--train-split", help="Which part of the data set that is.")]
NumPicturesOption = Annotated[
    int,
    typer.Option("--criterion-pictures", min=1, help="Pictures that criteria and sensitivities look at, at most."),
]
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
        "only brings BatchNorms to the dense network's mean and deviation.",
    ),
]
RecoverPicturesOption = Annotated[
    int, typer.Option("--recover-pictures", min=1, help="Pictures for --recover, at most.")
]
MOST_PICTURES = 1000
"""Pictures that --recover looks at, at most, unless told otherwise."""
RecoverStepsOption = Annotated[int, typer.Option("--recover-steps", min=1, help="Steps of --recover distill.")]
RecoverMirroredOption = Annotated[
    bool,
    typer.Option(
        "--recover-mirrored",
        help="--recover distill follows the mean of what a classifier says of each picture and of its mirror image; "
        "for classes that a mirror does not change.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", help="Chooses the pictures, the places looked at, and the order of --recover.")
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="Where latency is measured: `torch`, `torch-compile`, `onnxruntime`, `openvino`, `sapwood`, "
        "`onnxruntime-int8` or `openvino-int8`. With another goal than --latency, the result is timed there layer by "
        "layer.",
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="Examples a call while timing.")]
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
AsConfigOption = Annotated[
    bool,
    typer.Option(
        "--as-config",
        help="Widths that the config of a transformers model can say, the same in all layers: the result is a folder "
        "for any program that reads such (`sapwood export --format transformers`).",
    ),
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
    typer.Option(
        "--tolerance",
        metavar="FRACTION",
        show_default="0.05",
        help="How far the measured latency may be from --latency.",
    ),
]
AtMostOption = Annotated[bool, typer.Option("--at-most", help="Any network faster than --latency will do.")]
MinimumOption = Annotated[int, typer.Option("--minimum", min=1, help="The fewest channels that stay in a group.")]
RemoveBlocksOption = Annotated[
    str | None,
    typer.Option(
        "--remove-blocks",
        metavar="auto|only|N|FRACTION|NAMES",
        help="Residual blocks (x + f(x)) that go as a whole: `auto` as the goal asks, a further option beside the "
        "channels of every group, `only` without channels, both by what each does to the outputs on --data or the "
        "example inputs. Or before channels do: how many, or a fraction of them, those without which the outputs "
        "change least; or names, with commas between them, as `sapwood inspect --blocks` lists them. With a number or "
        "names a goal may be left out.",
    ),
]
LowRankOption = Annotated[
    bool,
    typer.Option(
        "--low-rank",
        help="Convolutions and linear layers may become two of low rank, in the directions in which their results vary "
        "on --data, or that weights tell: a further option beside the channels of every group, where it takes less.",
    ),
]
SparsityOption = Annotated[
    float | None,
    typer.Option("--sparsity", parser=fraction, metavar="FRACTION", help="Of the channels, removed: in [0, 1)."),
]
ParamsOption = Annotated[
    float | None, typer.Option("--params", parser=fraction, metavar="FRACTION", help="Of the parameters, kept.")
]
MacsOption = Annotated[
    float | None, typer.Option("--macs", parser=fraction, metavar="FRACTION", help="Of the multiply-accumulates, kept.")
]
LatencyOption = Annotated[
    str | None,
    typer.Option(
        "--latency",
        metavar="FRACTION|TIME",
        help="Measured latency kept, as a fraction of the dense model's; or a time, as 10ms.",
    ),
]


@dataclass(frozen=True)
class GoalOptions:
    """What the pruned model should be."""

    panel: ClassVar[str] = "The goal, one of"

    sparsity: SparsityOption = None
    params: ParamsOption = None
    macs: MacsOption = None
    latency: LatencyOption = None
    tolerance: ToleranceOption = None
    at_most: AtMostOption = False

    def target(self, *, needed: bool = True) -> Target | None:
        """The one goal that was given, and how near it a latency must be; None without one that is not ``needed``.

        Raises:
            ConfigError: If there is not exactly one, or what is of a latency stands beside another; names the options.
        """
        from sapwood.goals import latency_of
        from sapwood.pipeline import Target

        goals: dict[str, Any] = {
            "sparsity": self.sparsity,
            "params": self.params,
            "macs": self.macs,
            "latency": None if self.latency is None else latency_of(self.latency),
        }
        given = [
            f"--{name} {value}" if isinstance(value, str) else f"--{name} {value:g}"
            for name, value in goals.items()
            if value is not None
        ]
        if not given and not needed:
            self._check_no_latency("none")
            return None
        if len(given) != 1:
            expected = ", ".join(f"--{name}" for name in goals)
            raise ConfigError(f"got {' and '.join(given) or 'no goal'}; expected exactly one of {expected}")
        if self.latency is None:
            self._check_no_latency(given[0])
        near = {} if self.tolerance is None else {"tolerance": self.tolerance}
        return Target(**goals, **near, at_most=self.at_most)

    def _check_no_latency(self, goal: str) -> None:
        for name, is_given in (("--tolerance", self.tolerance is not None), ("--at-most", self.at_most)):
            if is_given:
                raise ConfigError(f"{name} is of --latency; the goal is {goal}")


@dataclass(frozen=True)
class WidthOptions:
    """What widths may be."""

    panel: ClassVar[str] = "Which widths"

    round_to: RoundToOption = None
    minimum: MinimumOption = 1
    bounds: BoundsOption = None
    equal: EqualOption = None
    whole_heads: WholeHeadsOption = False
    as_config: AsConfigOption = False
    low_rank: LowRankOption = False

    def limits(self) -> Limits:
        """What the options say, read.

        Raises:
            ConfigError: If one of them cannot be read.
        """
        from sapwood.pipeline import Limits

        found = dict(_bound(text) for text in self.bounds or ())
        sets = tuple(_layers(text) for text in self.equal or ())
        return Limits(self.round_to, self.minimum, found, sets, self.whole_heads, self.as_config)


@dataclass(frozen=True)
class PictureOptions:
    """The pictures that criteria look at."""

    panel: ClassVar[str] = "Pictures"

    data: CalibrationDataOption = None
    split: CalibrationSplitOption = "train"
    num_pictures: NumPicturesOption = 128
    labels: LabelsOption = Labels.data

    def check_looked_at(self, looked: bool, by: str) -> None:
        """Refuses pictures that nothing looks at, which would be left out without a word."""
        if self.data is not None and not looked:
            raise ConfigError(f"--data {self.data}: nothing looks at it; expected {by}, or no --data")

    def note_looked_at(self, looked: bool, by: str) -> None:
        """Says so where nothing looks at the pictures, and the work goes on."""
        if self.data is not None and not looked:
            complain(f"note: --data {self.data}: nothing looks at it; {by} would", 0)

    def calibration(self, bundle: ModelBundle, *, seed: int = 0) -> Calibration | None:
        """Reads them; None without ``--data``."""
        if self.data is None:
            return None
        from sapwood.goals import calibrate

        return calibrate(
            bundle,
            str(self.data),
            split=self.split,
            num_pictures=self.num_pictures,
            labels=self.labels.value,
            seed=seed,
        )


@dataclass(frozen=True)
class DeploymentOptions:
    """What the model will run on."""

    panel: ClassVar[str] = "Where it will run"

    runtime: RuntimeOption = None
    threads: RuntimeThreadsOption = None
    batch: BatchOption = None

    def deployment(self, *, needed: bool = True) -> Deployment | None:
        """Where the model will run: eager PyTorch if that is ``needed`` and not said, else None.

        Raises:
            ConfigError: If there is no such runtime.
            MissingDependencyError: If its package is not installed.
        """
        from sapwood.pipeline import Deployment
        from sapwood.runtime import RUNTIMES

        if self.runtime is None and not needed:
            return None
        name = self.runtime or "torch"
        RUNTIMES[name].version()
        note_threads(self.threads)
        return Deployment(name, self.threads, self.batch)


@dataclass(frozen=True)
class RecoveryOptions:
    """How accuracy comes back."""

    panel: ClassVar[str] = "Accuracy back"

    recover: RecoverOption = Recover.none
    recover_pictures: RecoverPicturesOption = MOST_PICTURES
    recover_steps: RecoverStepsOption = 1000
    recover_mirrored: RecoverMirroredOption = False

    @property
    def wanted(self) -> bool:
        """Whether anything is recovered."""
        return self.recover is not Recover.none


def check_low_rank(widths: WidthOptions, remove_blocks: str | None, target: Target | None) -> None:
    """Checks, before the work, that what else was given goes with ``--low-rank``.

    Raises:
        ConfigError: Names the option that does not.
    """
    if not widths.low_rank:
        return
    got = "--low-rank: got "
    if remove_blocks is not None:
        raise ConfigError(f"{got}--remove-blocks {remove_blocks}, too; expected one of them: prune the result again")
    if widths.as_config:
        raise ConfigError(f"{got}--as-config, too; no config of transformers says that a layer is two")
    if target is not None and target.kind == "sparsity":
        expected = "expected --macs, --params or --latency"
        raise ConfigError(f"{got}--sparsity {target.value:g}, which counts channels; {expected}")


def measure_sensitivity(
    bundle: ModelBundle, figure: Figure | None, calibration: Calibration | None, score: Scorer, **options: Any
) -> Sensitivity | None:
    """Measures what pruning every group alone does, if that was asked for; see :func:`sapwood.goals.sensitivity_of`.

    Raises:
        ConfigError: If there are no pictures for it.
    """
    from sapwood.goals import sensitivity_of

    if figure is None:
        return None
    if calibration is None:
        raise ConfigError("--sensitivity measures the model with each group pruned alone; expected --data")
    with progress_bar("sensitivity") as progress:
        return sensitivity_of(bundle, figure.value, calibration, score, **options, progress=progress)


def read_depth(text: str | None) -> Depth:
    """What ``--remove-blocks`` says: how many, a fraction, or names.

    Examples:
        >>> read_depth("2"), read_depth("0.25"), read_depth("layer1.1,layer2.*"), read_depth(None)
        (2, 0.25, ['layer1.1', 'layer2.*'], False)
        >>> read_depth("auto")
        'auto'
    """
    if text is None:
        return False
    if text in {"auto", "only"}:
        return text
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return [part.strip() for part in text.split(",")]


def _layers(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if len(names) < 2 or not all(names):
        raise ConfigError(f"--equal {text!r}; expected two or more layers with commas between them")
    return names


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
