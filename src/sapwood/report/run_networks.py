"""The networks of a run: the dense one and what each step made of it, with ratios, accuracies and links."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sapwood.report import formats
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, lost_points, points_text, where_text
from sapwood.report.findings import Finding, Tone
from sapwood.report.names import runtime_name
from sapwood.report.records import RunRecord, RunStep
from sapwood.report.run_sureness import run_sure, threads_of
from sapwood.report.standing import KEEPS, WHERE
from sapwood.report.table import TextTable, columns

DENSE = "dense"
PAGES = {"prune", "compact", "compare"}
"""Verbs that write a page of their own."""
INT8 = "-int8"
"""How the names of runtimes end that quantise."""
NEWER_PAGES = {"mask", "compile", "train", "detect"}
"""Verbs that do since their records have a schema."""


@dataclass(frozen=True)
class RunNetwork:
    """A network of a run.

    Attributes:
        name: Of the step that made it; the dense one has the recipe's.
        directory: Of that step; empty of the dense one.
        params: Parameters.
        nonzeros: Those that are not zero.
        macs: Multiply-accumulates.
        metrics: Its accuracy, as the last step that measured it has it; not in int8, which is another network's.
        int8: The same in int8, by the runtime that quantised it.
        times: Ratio to the dense network on the same runtime, by runtime.
    """

    name: str
    directory: str = ""
    params: int | None = None
    nonzeros: int | None = None
    macs: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    int8: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)


def networks(run: RunRecord) -> tuple[RunNetwork, ...]:
    """The dense network, and those that steps made, in their order."""
    found = {"": _dense(run)}
    for step in run.steps:
        if step.size is not None and not (step.verb == "train" and not found[""].directory and len(found) == 1):
            size = step.size
            found[step.directory] = RunNetwork(step.name, step.directory, size.params, size.nonzeros, size.macs)
        for directory, runtime, metrics in _accuracies(step, found):
            known = found[directory]
            if runtime.endswith(INT8):
                found[directory] = replace(known, int8={**known.int8, runtime: metrics})
            else:
                found[directory] = replace(known, metrics=metrics)
        for directory, runtime, ratio in _times(step, found):
            found[directory] = replace(found[directory], times={**found[directory].times, runtime: ratio})
    return tuple(found.values())


def network_table(run: RunRecord) -> TextTable:
    """A row a network: what is left of the dense one, and its accuracy; in int8 that has a row of its own."""
    dense, *others = (row for one in networks(run) for row in _with_int8(one))
    names = list(dict.fromkeys(name for one in (dense, *others) for name in one.metrics))
    runtimes = list(dict.fromkeys(name for one in others for name in one.times))
    rows = tuple(
        (
            one.name,
            formats.count(one.params),
            _share(one.nonzeros, one.params),
            formats.count(one.macs),
            _share(one.macs, dense.macs),
            *(formats.score(one.metrics.get(name)) for name in names),
            *(formats.times(one.times.get(name)) for name in runtimes),
        )
        for one in (dense, *others)
    )
    times = [f"time in {runtime_name(name)}" for name in runtimes]
    titles = columns("network", "parameters", "not zero", "MACs", "MACs left", *names, *times)
    return TextTable("Networks", titles, rows)


def _with_int8(network: RunNetwork) -> Iterator[RunNetwork]:
    """The network, and the same in int8 on each runtime where its accuracy was measured."""
    yield replace(network, times={name: ratio for name, ratio in network.times.items() if name not in network.int8})
    for runtime, metrics in network.int8.items():
        times = {name: ratio for name, ratio in network.times.items() if name == runtime}
        yield replace(network, name=f"{network.name}, {runtime_name(runtime)}", metrics=metrics, times=times)


def run_verdict(run: RunRecord, states: str) -> Finding:
    """What :func:`told_of` comes to beside the dense one; how far the run is, where nothing is known of it."""
    dense, *others = networks(run)
    if not others:
        return Finding("Steps", states)
    last = told_of(dense, others)
    parts = []
    best = _fastest(last)
    if best is not None and best[1] < 1.0:
        parts.append(f"{1.0 / best[1]:.1f} times as fast {WHERE.get(best[0], f'in {runtime_name(best[0])}')}")
    if dense.macs and last.macs is not None and last.macs < dense.macs:
        parts.append(f"{formats.percent(last.macs / dense.macs)} of the MACs")
    if last.params and last.nonzeros is not None and last.nonzeros < 0.95 * last.params:
        parts.append(f"{_share(last.nonzeros, last.params)} of the parameters not zero")
    figures = [f"{name} {formats.score(was)} to {formats.score(now)}" for name, was, now in _both(dense, last)]
    if not _is_of_use(dense, last):
        which = f" ({last.name})" if len(others) > 1 else ""
        return Finding("Networks", f"Not of use{which}: {', '.join([*figures, *parts])}.", "bad")
    text = ", ".join([*parts, *figures])
    if text and len(others) > 1:
        return Finding("Networks", f"{last.name}: {text}.", "good")
    return Finding("Networks", f"{text[:1].upper()}{text[1:]}." if text else states, "good")


def told_of(dense: RunNetwork, others: Sequence[RunNetwork]) -> RunNetwork:
    """The network that a run's page begins with: the last one of use of those of which most is known.

    What may be known is an accuracy and a time. Where none of them is of use, it is the last one.
    """

    def known(one: RunNetwork) -> int:
        return (next(_both(dense, one), None) is not None) + (_fastest(one) is not None)

    most = max(map(known, others))
    best = [one for one in others if known(one) == most]
    return ([one for one in best if _is_of_use(dense, one)] or best)[-1]


def _is_of_use(dense: RunNetwork, other: RunNetwork) -> bool:
    """Whether enough is left of the first figure of accuracy, where it is known of both."""
    return all(now >= KEEPS * was for _, was, now in list(_both(dense, other))[:1])


def _fastest(network: RunNetwork) -> tuple[str, float] | None:
    """The runtime on which a network gained most, and its time there; in int8, whose accuracy is another, at need."""
    plain = {name: ratio for name, ratio in network.times.items() if not name.endswith(INT8)}
    return min((plain or network.times).items(), key=lambda one: one[1], default=None)


def run_answers(run: RunRecord) -> tuple[Answer, ...]:
    """The five questions, of :func:`told_of`."""
    dense, *others = networks(run)
    if not others:
        return ()
    last = told_of(dense, others)
    best = _fastest(last)
    figures = list(_both(dense, last))
    macs, params = _share(last.macs, dense.macs), _share(last.params, dense.params)
    left = f"{macs} of the MACs and {params} of the parameters are left"
    if len(others) > 1:
        left = f"{last.name}: {left}"
    faster = Answer(FASTER, "not measured" if best is None else f"{1.0 / best[1]:.1f}×", left)
    place = Answer(PLACE, "not measured" if best is None else runtime_name(best[0]), _machine(run, best))
    told = "; ".join(f"{name} {formats.score(was)} → {formats.score(now)}" for name, was, now in figures)
    lost = points_text(lost_points(*figures[0][1:]), figures[0][0]) if figures else "accuracy not measured"
    commands = run.made.commands if run.made is not None else ()
    tone: Tone = "plain" if not figures else "good" if _is_of_use(dense, last) else "bad"
    sure = run_sure(run, last.directory, None if best is None else best[0], _directory_of(networks(run)))
    more = "; ".join(one for one in (*sure[1], _proofs(run), _missed(run)) if one)
    return (
        faster,
        place,
        Answer(LOST, lost, told, tone=tone),
        Answer(SURE, sure[0], more),
        Answer(GET, "", "", commands),
    )


def step_links(run: RunRecord) -> tuple[tuple[str, str], ...]:
    """Pages that steps wrote: a name and an address beside the run's page."""
    made = (step for step in run.steps if _has_page(step) and step.state != "begun")
    return tuple((step.name, f"{step.directory}/report.html") for step in made)


def _has_page(step: RunStep) -> bool:
    has_schema = isinstance(step.result, Mapping) and "schema" in step.result
    return step.verb in PAGES or (step.verb in NEWER_PAGES and has_schema)


def _dense(run: RunRecord) -> RunNetwork:
    """The network that the steps begin with: what the first step trained, or what one made smaller."""
    for step in run.steps:
        if step.verb == "train" and step.size is not None:
            size = step.size
            return RunNetwork(step.name, "", size.params, size.nonzeros, size.macs, _metrics(step))
        before = step.result.get("before") if isinstance(step.result, Mapping) else None
        if step.verb in {"prune", "compact"} and isinstance(before, Mapping):
            params, macs = before.get("params"), before.get("macs")
            return RunNetwork(DENSE, "", params, params, macs)
        if step.size is not None:
            return RunNetwork(DENSE, "", step.size.params, None, step.size.macs)
    return RunNetwork(DENSE)


def _accuracies(step: RunStep, found: Mapping[str, RunNetwork]) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """The directory, the runtime and the accuracy of what a step measured."""
    metrics = _metrics(step)
    if metrics and step.verb == "train":
        yield (step.directory if step.directory in found else ""), "torch", metrics
    elif metrics and step.verb == "eval":
        assert isinstance(step.result, Mapping)
        yield _named(step.command, found), str(step.result.get("runtime") or "torch"), metrics


def _times(step: RunStep, found: Mapping[str, RunNetwork]) -> Iterator[tuple[str, str, float]]:
    for row in step.timed:
        if row.same_runtime_ratio is not None and row.model:
            yield _named(row.model, found), row.runtime, row.same_runtime_ratio
    latency = step.result.get("latency") if isinstance(step.result, Mapping) else None
    if step.directory in found and isinstance(latency, Mapping) and isinstance(latency.get("ratio"), float):
        yield step.directory, str((latency.get("conditions") or {}).get("runtime", "torch")), latency["ratio"]


def _named(model: str, found: Mapping[str, RunNetwork]) -> str:
    """The directory of the step that made a model, by the folders of its path; empty of the dense one."""
    parts = re.split(r"[\\/\s'\"]+", model)
    return next((directory for directory in found if directory and directory in parts), "")


def _directory_of(known: Sequence[RunNetwork]) -> Callable[[str], str]:
    """What tells the directory of a network from the words that name it."""
    found = {one.directory: one for one in known}
    return lambda words: _named(words, found)


def _metrics(step: RunStep) -> Mapping[str, float]:
    metrics = step.result.get("metrics") if isinstance(step.result, Mapping) else None
    return (
        {str(name): one for name, one in metrics.items() if isinstance(one, float)}
        if isinstance(metrics, Mapping)
        else {}
    )


def _both(dense: RunNetwork, other: RunNetwork) -> Iterator[tuple[str, float, float]]:
    for name, was in dense.metrics.items():
        if name in other.metrics:
            yield name, was, other.metrics[name]


def _proofs(run: RunRecord) -> str:
    proofs: list[Any] = [
        step.result["verification"].get("passed")
        for step in run.steps
        if isinstance(step.result, Mapping) and isinstance(step.result.get("verification"), Mapping)
    ]
    if not proofs:
        return ""
    return "the cut is proven" if all(proofs) else "the cut is not proven"


def _missed(run: RunRecord) -> str:
    missed = [step.name for step in run.steps if step.state == "missed"]
    return f"missed: {', '.join(missed)}" if missed else "every target was met"


def _machine(run: RunRecord, best: tuple[str, float] | None) -> str:
    """The processor, and how many threads the time was measured with."""
    cpu = str(run.made.machine.get("cpu") or "") if run.made is not None else ""
    return where_text({"cpu": cpu, "threads": None if best is None else threads_of(run, best[0])})


def _share(part: int | None, whole: int | None) -> str:
    return formats.percent(part / whole if part is not None and whole else None)
