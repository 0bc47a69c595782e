"""What a comparison comes to, in one sentence about the best case that can be used; none written beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from sapwood.report import formats
from sapwood.report.answers import chosen, loss_text, speed_text, times_as_fast, verdict_text
from sapwood.report.findings import Finding, speed
from sapwood.report.records import CaseResult, Comparison
from sapwood.report.standing import KEEPS, WHERE, keeps, retained


def headline(comparison: Comparison) -> Finding:
    """Returns what the whole comparison comes to: the fastest case of use, or that nothing became faster."""
    timed = [case for case in comparison.candidates if case.done and case.latency is not None]
    if not timed:
        return _without_times(comparison)
    best = chosen(comparison)
    if best is None:
        return _nothing_faster(timed)
    if keeps(best.case, comparison):
        return Finding("Speed", verdict_text(best, comparison), "good")
    if retained(best.case, comparison) is None:
        return Finding("Speed", f"{times_as_fast(best.ratio)} {WHERE[best.runtime]}; accuracy was not measured.")
    nearest = f"{speed_text(best, comparison)}, {loss_text(best.case, comparison, first_only=True)}"
    return Finding("Speed", f"Nothing of use is faster yet. The nearest: {nearest}.", "bad")


def _nothing_faster(timed: Sequence[CaseResult]) -> Finding:
    emptiest = max(timed, key=lambda case: case.sparsity)
    assert emptiest.latency is not None
    means = "masks" if all(case.kind == "mask" for case in timed) else "the zeros"
    verdict = {
        "same": f"{means} do not make it faster",
        "slower": f"{means} make it slower, not faster",
        "faster": f"{means} make it faster",
    }[speed(emptiest.latency)]
    text = (
        f"At {formats.percent(emptiest.sparsity)} zeros the network takes {formats.times(emptiest.latency.ratio)} "
        f"the time: {verdict}."
    )
    return Finding("Speed", text, "bad" if emptiest.sparsity else "plain")


def _without_times(comparison: Comparison) -> Finding:
    done = [case for case in comparison.candidates if case.done and case.value is not None]
    if not done or comparison.baseline.value is None:
        number = len(comparison.cases)
        cases = f"{number} case{'' if number == 1 else 's'}"
        return Finding("Accuracy", f"{cases} of {comparison.model.title}.")
    keeping = [case for case in done if keeps(case, comparison)]
    if not keeping:
        share = formats.percent(KEEPS)
        return Finding("Accuracy", f"No case keeps {share} of the unpruned {comparison.primary}.", "bad")
    best = max(keeping, key=lambda case: case.sparsity)
    share = formats.percent(min(retained(best, comparison) or 0.0, 1.0))
    text = f"{best.name} keeps {share} of the unpruned {comparison.primary} at {formats.percent(best.sparsity)} zeros."
    return Finding("Accuracy", text, "good")
