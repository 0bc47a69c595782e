"""The five questions that a page answers first: how much faster, where, what was lost, how sure, how do I get it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapwood.report import formats
from sapwood.report.case_commands import commands_for
from sapwood.report.findings import Tone
from sapwood.report.records import CaseResult, Comparison, MadeBy
from sapwood.report.standing import NAMES, WHERE, Standing, keeps, reference, retained, standings, usable
from sapwood.report.sureness import accuracy_interval, within_noise

FASTER, PLACE, LOST, SURE, GET = "How much faster?", "Where?", "What was lost?", "How sure is that?", "How do I get it?"


@dataclass(frozen=True)
class Answer:
    """One of the five: the question, the answer in a few words, and what else belongs to it.

    Attributes:
        question: As a reader has it.
        answer: In large type.
        more: In small type.
        commands: To be copied, one a line.
        tone: Whether it is good news.
    """

    question: str
    answer: str
    more: str = ""
    commands: tuple[str, ...] = ()
    tone: Tone = "plain"


def chosen(comparison: Comparison) -> Standing | None:
    """The case that the page is about: the fastest usable one; else the one nearest to it; None without times."""
    best = usable(comparison)
    if best:
        return best[0]
    timed = [one for one in standings(comparison) if one.case is not comparison.baseline and one.faster]
    keeping = [one for one in timed if keeps(one.case, comparison)]
    return max(keeping or timed, key=lambda one: (one.case.value or 0.0, -one.ratio), default=None)


def verdict_text(standing: Standing, comparison: Comparison) -> str:
    """Says in a sentence what a case comes to: how much faster, what was lost, how small it is."""
    lost = loss_text(standing.case, comparison, first_only=True)
    return f"{speed_text(standing, comparison)}, {lost}, {size_text(standing.case, comparison)}."


def speed_text(standing: Standing, comparison: Comparison) -> str:
    """Writes how many times as fast a case is, and where; against what, where that is another runtime."""
    other = standing.runtime != reference(comparison)
    against = f" as the unpruned network {WHERE[reference(comparison)]}" if other else ""
    return f"{times_as_fast(standing.ratio)} {WHERE[standing.runtime]}{against}"


def times_as_fast(ratio: float) -> str:
    """Writes a ratio of times as a speed.

    Examples:
        >>> times_as_fast(0.476), times_as_fast(1.002)
        ('2.1 times as fast', 'As fast')
    """
    text = f"{1.0 / ratio:.1f}"
    return "As fast" if text == "1.0" else f"{text} times as fast"


def loss_text(case: CaseResult, comparison: Comparison, *, first_only: bool = False) -> str:
    """Writes how many points of each figure were lost, the primary one first."""
    dense, own = comparison.baseline.accuracy, case.accuracy
    if dense is None or own is None:
        return "accuracy not measured"
    names = [dense.primary, *(name for name in dense.metrics if name != dense.primary)]
    known = [name for name in names if name in own.metrics][: 1 if first_only else None]
    return ", ".join(points_text(lost_points(dense.metrics[name], own.metrics[name]), name) for name in known)


def lost_points(before: float, after: float) -> float:
    """What was lost between two figures as they are shown, so that a reader who subtracts them gets the same.

    Examples:
        >>> points_text(lost_points(0.96488, 0.62044), "mAP@0.5")
        '34.5 points of mAP@0.5 lost'
    """
    return round(before, 3) - round(after, 3)


def points_text(lost: float, name: str) -> str:
    """Writes a difference of accuracies in points, of which 100 are all.

    Examples:
        >>> points_text(0.0031, "mAP@0.5"), points_text(0.0002, "top-1"), points_text(-0.012, "top-1")
        ('0.3 points of mAP@0.5 lost', 'no top-1 lost', 'no top-1 lost (1.2 points won)')
    """
    text = f"{100.0 * abs(lost):.1f}"
    if text == "0.0":
        return f"no {name} lost"
    points = "point" if text == "1.0" else "points"
    return f"{text} {points} of {name} lost" if lost > 0 else f"no {name} lost ({text} {points} won)"


def size_text(case: CaseResult, comparison: Comparison) -> str:
    """Writes what is left of the file, or of the weights where zeros are stored as numbers."""
    dense = comparison.baseline
    shares = []
    if dense.file_bytes and case.file_bytes is not None and case.file_bytes < 0.99 * dense.file_bytes:
        shares.append(f"{formats.percent(case.file_bytes / dense.file_bytes)} of the size")
    if dense.nonzeros and case.sparsity > 0.05:
        shares.append(f"{formats.percent(case.nonzeros / dense.nonzeros)} of the weights not zero")
    return " and ".join(shares) or "the same size"


def compare_answers(comparison: Comparison) -> tuple[Answer, ...]:
    """Returns the answers of a comparison about the case it is for; none where nothing was timed."""
    best = chosen(comparison)
    if best is None:
        return ()
    case, conditions = best.case, comparison.conditions
    tone: Tone = "good" if keeps(case, comparison) else "bad"
    useless = ", which keeps too little accuracy to be of use"
    told = useless if tone == "bad" and retained(case, comparison) is not None else ""
    dense_ms = formats.milliseconds(best.ms / best.ratio)
    return (
        Answer(
            FASTER,
            times_as_fast(best.ratio).replace(" times as fast", "×"),
            f"{case.name}{told}: {formats.milliseconds(best.ms)} instead of {dense_ms} a picture, "
            f"{size_text(case, comparison)}",
            tone=tone,
        ),
        Answer(PLACE, NAMES[best.runtime], where_text(conditions)),
        Answer(LOST, _lost_points(case, comparison), _lost_more(case, comparison), tone=tone),
        Answer(SURE, _sure(case), _sure_more(best, comparison)),
        Answer(GET, "", "", commands_for(case, comparison, best.runtime)),
    )


def where_text(conditions: Mapping[str, Any]) -> str:
    """Writes the processor and how many threads."""
    threads = conditions.get("threads")
    told = f"{threads} thread{'' if threads == 1 else 's'}" if threads else ""
    return ", ".join(part for part in (str(conditions.get("cpu") or ""), told) if part)


def get_commands(made: MadeBy | None, saved: str | None, data: Any = None) -> tuple[str, ...]:
    """What was typed and what comes next; how accuracy is measured, where the record does not say what comes next.

    Examples:
        >>> get_commands(None, "my net")
        ("sapwood eval 'my net' --data DIR",)
    """
    told = () if made is None else made.commands
    if saved is None or (made is not None and made.then):
        return told
    return (*told, shlex.join(["sapwood", "eval", saved, "--data", str(data or "DIR")]))


def _lost_points(case: CaseResult, comparison: Comparison) -> str:
    dense, own = comparison.baseline.value, case.value
    if dense is None or own is None:
        return formats.MISSING
    lost = f"{100.0 * lost_points(dense, own):.1f}"
    return "nothing" if float(lost) <= 0.0 else f"{lost} point" + ("" if lost == "1.0" else "s")


def _lost_more(case: CaseResult, comparison: Comparison) -> str:
    dense, own = comparison.baseline.accuracy, case.accuracy
    if dense is None or own is None:
        return ""
    told = [
        f"{name} {formats.score(value)} → {formats.score(own.metrics.get(name))}"
        for name, value in dense.metrics.items()
    ]
    return "; ".join(told)


def _sure(case: CaseResult) -> str:
    found = accuracy_interval(case)
    return "no ± measured" if found is None else f"± {100.0 * found.half:.1f} points"


def _sure_more(best: Standing, comparison: Comparison) -> str:
    case = best.case
    found = case.accuracy.resampled if case.accuracy else None
    pictures = formats.several(comparison.data.num_images, "picture")
    parts = [f"95 of 100 samples of {pictures}" if found else f"accuracy on {pictures}"]
    if within_noise(case, comparison):
        parts.append("the loss is within noise")
    slow, fast = (f"{1.0 / max(ratio, 1e-9):.1f}" for ratio in (best.high, best.low))
    parts.append(f"half of the rounds {slow} to {fast} times as fast")
    return "; ".join(parts)
