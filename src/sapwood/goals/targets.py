"""What a pruned model should be, what it may not be, and what it will run on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

from torch import Tensor, nn

from sapwood.arguments import check_kind, check_yes_or_no
from sapwood.errors import ConfigError
from sapwood.goals.approach import MET_WITHIN
from sapwood.goals.milliseconds import EXPECTED, milliseconds
from sapwood.meant import meant_fraction, meant_latency
from sapwood.runtime import RUNTIMES, available_cores
from sapwood.types import Dataset

TargetKind = Literal["sparsity", "params", "macs", "latency"]
KINDS: tuple[TargetKind, ...] = ("sparsity", "params", "macs", "latency")


@dataclass(frozen=True)
class Target:
    """What the pruned model should be: exactly one of the goals.

    Attributes:
        sparsity: Fraction of the channels removed, in [0, 1).
        params: Parameters kept, as a fraction of the dense model's, in (0, 1].
        macs: Multiply-accumulates kept, as a fraction of the dense model's, in (0, 1].
        latency: Measured latency, as a fraction of the dense model's on the same runtime, in (0, 1]; or as a time with
            its unit: ``"10ms"`` (also ``us`` and ``s``).
        tolerance: Of a latency: how far the measured one may be from it, as a fraction of it. A target between the
            quartiles of the measurement is met in any case.
        at_most: Of a latency: any faster network will do.

    Examples:
        >>> Target(latency=0.5).kind
        'latency'
        >>> Target(latency="10ms").milliseconds
        10.0
        >>> Target(macs=0.5, params=0.5)
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: Target(params=0.5, macs=0.5) names 2 goals; expected exactly one of sparsity=, \
params=, macs=, latency=
    """

    sparsity: float | None = None
    params: float | None = None
    macs: float | None = None
    latency: float | str | None = None
    tolerance: float = MET_WITHIN
    at_most: bool = False

    def __post_init__(self) -> None:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            shown = ", ".join(f"{name}={getattr(self, name)}" for name in given)
            count = f"{len(given)} goals" if given else "no goal"
            raise ConfigError(
                f"Target({shown}) names {count}; expected exactly one of {', '.join(f'{name}=' for name in KINDS)}"
            )
        self._check_number()
        check_yes_or_no("at_most", self.at_most)
        if not (isinstance(self.tolerance, Real) and 0.0 <= self.tolerance < 1.0):
            raise ConfigError(f"tolerance {self.tolerance!r}; expected a number in [0, 1)")
        if self.kind != "latency" and (self.at_most or self.tolerance != MET_WITHIN):
            raise ConfigError(f"tolerance= and at_most= are of a latency; the target is {self.kind}={self.value:g}")

    def _check_number(self) -> None:
        if self.milliseconds is not None:
            return
        given, kind = getattr(self, self.kind), self.kind
        expected = EXPECTED if kind == "latency" else "the fraction kept, a number in (0, 1]"
        meant = meant_latency(given) if kind == "latency" else meant_fraction(given)
        if isinstance(given, bool) or not isinstance(given, Real | Tensor):
            wanted = expected if kind == "latency" else "a number"
            raise ConfigError(f"{kind} {given!r}; expected {wanted}{meant}")
        if kind == "sparsity" and not 0.0 <= self.value < 1.0:
            raise ConfigError(f"sparsity {self.value}; expected a number in [0, 1){meant}")
        if kind != "sparsity" and not 0.0 < self.value <= 1.0:
            raise ConfigError(f"{kind} {self.value}; expected {expected}{meant}")

    @property
    def kind(self) -> TargetKind:
        """Which goal it is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def value(self) -> float:
        """The number given for it; milliseconds of a time."""
        asked = self.milliseconds
        return float(getattr(self, self.kind)) if asked is None else asked

    @property
    def milliseconds(self) -> float | None:
        """The latency asked for, where that is a time."""
        return milliseconds(self.latency) if isinstance(self.latency, str) else None


@dataclass(frozen=True)
class Limits:
    """What widths may be.

    Attributes:
        round_to: Multiple that each width should be of; a group that is not wider stays whole. None: multiples of 8
            where a group is wide enough and the target is met as well with them, within 2 % of the whole; 1: any.
        minimum: The fewest channels that stay in a group.
        bounds: Layer, parameter or dimension (``"layers.3"``, ``"conv.weight[0]"``, ``*`` and ``?`` as in a shell) ->
            the smallest and the largest fraction of its output channels that stay.
        equal: Sets of layers, parameters or dimensions whose channels must stay in equal numbers.
        whole_heads: Attention loses whole heads instead of narrowing each.
        as_config: Widths are those that the config of a transformers model can say, the same in all layers; the
            smaller model is then what its config builds, and ``save_pretrained`` writes it as any other.
    """

    round_to: int | None = None
    minimum: int = 1
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    equal: tuple[tuple[str, ...], ...] = ()
    whole_heads: bool = False
    as_config: bool = False

    def __post_init__(self) -> None:
        for name in ("round_to", "minimum"):
            value = getattr(self, name)
            if name == "round_to" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}: got {value!r}; expected a whole number of at least 1")
        check_kind("bounds", self.bounds, Mapping, "a dict of layers and (smallest, largest) fractions kept")
        check_yes_or_no("whole_heads", self.whole_heads)
        check_yes_or_no("as_config", self.as_config)
        _check_sets(self.equal)
        for name, fractions in self.bounds.items():
            low, high = _two_numbers(name, fractions)
            if not (math.isfinite(low) and math.isfinite(high) and 0.0 <= low <= high <= 1.0 and high > 0.0):
                raise ConfigError(
                    f"bounds of {name!r}: got ({low}, {high}); expected two fractions kept, 0 <= smallest <= largest "
                    "<= 1"
                )


def _two_numbers(name: str, fractions: object) -> tuple[float, float]:
    pair = tuple(fractions) if isinstance(fractions, Sequence) and not isinstance(fractions, str) else ()
    if len(pair) != 2 or not all(isinstance(number, Real) and not isinstance(number, bool) for number in pair):
        raise ConfigError(f"bounds of {name!r}: got {fractions!r}; expected two fractions kept, as (0.5, 1.0)")
    return float(pair[0]), float(pair[1])


def _check_sets(equal: object) -> None:
    check_kind("equal", equal, (tuple, list), "sets of layers, as (('0', '2'),)")
    for names in equal:  # type: ignore[attr-defined]
        if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(n, str) for n in names):
            raise ConfigError(f"equal: got {names!r}; expected a set of layers that keep equal numbers, as ('0', '2')")


@dataclass(frozen=True)
class Deployment:
    """What the model will run on: latency is measured there.

    Attributes:
        runtime: A name in :data:`sapwood.runtime.RUNTIMES`.
        threads: Threads it may use; all cores that this process may run on where None.
        batch: Examples a call; as many as the example inputs hold where None.
    """

    runtime: str = "torch"
    threads: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        RUNTIMES[self.runtime]
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name}: got {value!r}; expected a whole number of at least 1")

    @property
    def num_threads(self) -> int:
        """The threads it uses."""
        if self.threads is not None:
            return self.threads
        return available_cores()


@dataclass(frozen=True)
class Calibration:
    """What criteria that look at data are computed from.

    Attributes:
        batches: Anything that ``loss`` understands, gone through more than once.
        loss: The mean loss of a model on a batch; see :func:`sapwood.tasks.task_loss`.
        dataset: Where the batches come from, if from a data set.
    """

    batches: Iterable[Any]
    loss: Callable[[nn.Module, Any], Tensor]
    dataset: Dataset | None = None
