"""Times of every layer at several widths, measured on the runtime the model will run on, and kept for the machine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from sapwood.allocation import KINDS, VECTOR, held_groups, layer_work, vector_step
from sapwood.errors import MeasureError
from sapwood.files import keep_json
from sapwood.goals.bench import ROUNDS, Bench, cache_path, call_shapes
from sapwood.goals.drawn_widths import select_drawn
from sapwood.goals.targets import Deployment
from sapwood.measure import STEPS, Sample, sample_work, width_samples
from sapwood.models import apply_plan
from sapwood.reading import read_json, reading
from sapwood.removal import Planner, unproven

FORMAT = 2
"""The version of the cache; samples of another one are measured anew."""

NUM_SAMPLES = 12


def layer_samples(
    planner: Planner,
    model: nn.Module,
    bench: Bench,
    *,
    whole_heads: bool = False,
    routes: dict[str, int] | None = None,
    multiple: int = VECTOR,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Times every layer of ``model`` at :data:`NUM_SAMPLES` widths of its groups, the unpruned model among them.

    Each sample is the whole network, really pruned, on the runtime: caches, fused operators and changes of memory
    layout are those it will have. What was measured before on this machine, with these versions, threads and shapes, is
    read from the cache folder (``$SAPWOOD_CACHE``, else ``~/.cache/sapwood``); weights do not matter.

    Args:
        planner: Of the model.
        model: The dense model, in float32.
        bench: Where it runs. A runtime that cannot tell layers apart is sampled in eager PyTorch: what a layer costs
            beside the others is then that runtime's, and only the measured whole is the other's.
        whole_heads: Whether attention loses whole heads.
        routes: The Darknet routes that take equal parts.
        multiple: What widths of wide groups are multiples of.
        progress: Called with samples done and in all.
    """
    samples_of = [NUM_SAMPLES, ROUNDS, whole_heads, *([] if multiple == VECTOR else [multiple])]
    analysis = planner.analysis()
    shapes = [call_shapes(analysis), [(group.name, group.num_channels) for group in analysis.groups]]
    path = cache_path("layers", shapes, bench, samples=samples_of, version=FORMAT)
    known = _read(path)
    if known is not None:
        return known
    samples: list[Sample] = []
    for number in range(NUM_SAMPLES):
        select = select_drawn(partial(_drawn, number, multiple), whole_heads=whole_heads, routes=routes or {})
        solution = planner.solve(select, prove=unproven, as_config=False)
        small = apply_plan(model, solution.realised.plan)
        times = bench.layer_times(small)
        if times is None:
            times = Bench(bench.inputs, Deployment("torch", bench.deployment.threads)).layer_times(small)
        assert times is not None
        work = layer_work(solution.analysis, held_groups(solution.analysis, whole_heads=whole_heads))
        samples.append(Sample(times, sample_work(work, solution.chosen.kept)))
        if progress is not None:
            progress(number + 1, NUM_SAMPLES)
    keep_json(path, [{"layer_ms": sample.layer_ms, "work": sample.work} for sample in samples])
    return samples


def _drawn(number: int, multiple: int, sizes: Sequence[int], equal: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The widths of one sample."""
    return width_samples(sizes, NUM_SAMPLES, steps=[vector_step(size, multiple) for size in sizes], equal=equal)[number]


def _read(path: Path) -> list[Sample] | None:
    """Samples of an earlier run; None where there are none, or the file is damaged, of which a warning tells."""
    if not path.exists():
        return None
    expected = f"{NUM_SAMPLES} samples of layer times"
    try:
        rows = read_json(path, expected, MeasureError)
        with reading(path, expected, MeasureError):
            found = [_sample(row) for row in rows]
            if len(found) != NUM_SAMPLES:
                raise ValueError(f"{len(found)} samples")
            return found
    except MeasureError as error:
        warnings.warn(f"{error}; they are measured again", stacklevel=3)
        return None


def _sample(row: Any) -> Sample:
    """A sample as it was written.

    Raises:
        ValueError: If a figure is none that a measurement gives; damage of other kinds raises as it may.
    """
    sample = Sample(
        {name: float(value) for name, value in row["layer_ms"].items()},
        {
            int(step): {name: tuple(map(float, amounts)) for name, amounts in work.items()}
            for step, work in row["work"].items()
        },
    )
    amounts = [own for work in sample.work.values() for own in work.values()]
    figures = [*sample.layer_ms.values(), *(figure for own in amounts for figure in own)]
    if set(sample.work) != set(STEPS) or any(len(own) != len(KINDS) for own in amounts):
        raise ValueError(f"work for steps {sorted(sample.work)}")
    if not sample.layer_ms or not all(math.isfinite(figure) and figure >= 0 for figure in figures):
        raise ValueError("a time or an amount of work that is no figure")
    return sample
