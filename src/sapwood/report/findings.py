"""What a comparison found, in sentences: each one worded by the figures, none written beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from sapwood.report import formats
from sapwood.report.noise import NOISY
from sapwood.report.records import CaseResult, Comparison, Latency, LiveMask
from sapwood.report.standing import CLEARLY, KEEPS, LOSES, keeps, retained

Tone = Literal["good", "mixed", "bad", "plain"]

FEW_ZEROS = 0.01
"""A case with so many more zeros than the baseline has some to speak of."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the report: its subject, what was found, and whether that is good news."""

    subject: str
    text: str
    tone: Tone = "plain"


def speed(latency: Latency | LiveMask | None) -> Literal["faster", "same", "slower"]:
    """Says whether a time differs clearly from the one it is a ratio to: by more than a little and its own spread."""
    if latency is None:
        return "same"
    far = max(CLEARLY, latency.ratio_q75 - latency.ratio_q25)
    if latency.ratio < 1.0 - far:
        return "faster"
    return "slower" if latency.ratio > 1.0 + far else "same"


def findings(comparison: Comparison) -> list[Finding]:
    """Returns the sentences below the headline: accuracy family by family, size, live masks, cases that failed."""
    found = [_family_finding(family, cases, comparison) for family, cases in comparison.families().items()]
    more = (
        _engine_finding(comparison),
        _size_finding(comparison),
        _live_mask_finding(comparison),
        _noise_finding(comparison),
    )
    found += [finding for finding in more if finding]
    failed = [case for case in comparison.cases if not case.done]
    if failed:
        names = "; ".join(f"{case.name}: {case.error}" for case in failed)
        found.append(Finding("Not measured", f"{formats.several(len(failed), 'case')} failed. {names}", "bad"))
    return [finding for finding in found if finding.text]


def _family_finding(family: str, cases: Sequence[CaseResult], comparison: Comparison) -> Finding:
    """How far a family can go: the last case that keeps the accuracy, and the first that does not."""
    shares = [(case, share) for case in cases if (share := retained(case, comparison)) is not None]
    if not shares:
        return Finding(family, "")
    shares.sort(key=lambda pair: (pair[0].level or 0.0, pair[0].sparsity))
    keeping = [pair for pair in shares if keeps(pair[0], comparison)]
    losing = [pair for pair in shares if not keeps(pair[0], comparison)]
    metric = comparison.primary
    if not losing:
        return Finding(family, f"keeps the accuracy: {_left(keeping[-1:], metric)}.", "good")
    if keeping:
        beyond = [pair for pair in losing if (pair[0].level or 0.0) > (keeping[-1][0].level or 0.0)] or losing
        return Finding(family, f"holds for a while: {_left([keeping[-1], beyond[0]], metric)}.", "mixed")
    word = "breaks the network" if losing[0][1] < LOSES else "costs accuracy at once"
    return Finding(family, f"{word}: {_left([losing[0], *losing[1:][-1:]], metric)}.", "bad")


def _left(pairs: Sequence[tuple[CaseResult, float]], metric: str) -> str:
    """How much is left in each case: "98 % of mAP@0.5 is left at sparsity 0.5, 59 % at 0.7"."""
    (first, share), *others = pairs
    at = _asked(first)
    more = "".join(f", {formats.percent(min(part, 1.0))}{_asked(case)}" for case, part in others)
    return f"{formats.percent(min(share, 1.0))} of {metric} is left{at}{more}"


def _asked(case: CaseResult) -> str:
    """What was asked for, as the options have it: a fraction removed, or a fraction kept of what is named."""
    for field, what in (("macs", "the MACs"), ("params", "the parameters"), ("latency", "the latency")):
        kept = case.settings.get(field)
        if isinstance(kept, int | float):
            return f" with {kept:g} of {what} kept"
    return "" if case.level is None else f" at {case.level:g}"


def _engine_finding(comparison: Comparison) -> Finding | None:
    """What zeros buy where they cost nothing: the fastest case with some that keeps the accuracy, else the emptiest."""
    zeros = comparison.baseline.sparsity + FEW_ZEROS
    timed = [case for case in comparison.candidates if case.engine is not None and case.sparsity > zeros]
    dense = comparison.baseline.engine
    if not timed or dense is None:
        return None
    keeping = [case for case in timed if keeps(case, comparison)]
    best = min(keeping, key=lambda case: case.engine.ratio if case.engine else 1.0) if keeping else None
    emptiest = max(timed, key=lambda case: case.sparsity)
    chosen = best or emptiest
    assert chosen.engine is not None
    kept = retained(chosen, comparison)
    left = "" if kept is None else f", with {formats.percent(min(kept, 1.0))} of {comparison.primary} left"
    text = (
        f"{chosen.name} ({formats.percent(chosen.sparsity)} zeros) takes {formats.times(chosen.engine.ratio)} the time "
        f"that the unpruned network takes in PyTorch{left}; the unpruned network itself takes "
        f"{formats.times(dense.ratio)} there."
    )
    faster = speed(chosen.engine) == "faster"
    return Finding("On the sparse engine", text, ("good" if best else "bad") if faster else "plain")


def _size_finding(comparison: Comparison) -> Finding | None:
    dense = comparison.baseline.file_bytes
    sizes = [case.file_bytes for case in comparison.candidates if case.file_bytes is not None]
    if not dense or not sizes:
        return None
    if max(abs(size - dense) for size in sizes) <= 0.01 * dense:
        return Finding("File size", f"stays at {formats.megabytes(dense)} in every case: zeros are stored as numbers.")
    usable = [
        case.file_bytes for case in comparison.candidates if case.file_bytes is not None and keeps(case, comparison)
    ]
    if not comparison.baseline.value:
        return Finding("File size", f"from {formats.megabytes(dense)} down to {formats.megabytes(min(sizes))}.")
    share = f"{formats.percent(KEEPS)} of the unpruned {comparison.primary}"
    if not usable or min(usable) > 0.99 * dense:
        return Finding("File size", f"No smaller file keeps {share}.", "bad")
    smallest = formats.megabytes(min(usable))
    return Finding("File size", f"from {formats.megabytes(dense)} down to {smallest} with at least {share} kept.")


def _live_mask_finding(comparison: Comparison) -> Finding | None:
    live = comparison.live_mask
    if live is None:
        return None
    ratio, spread = (
        formats.times(live.ratio),
        f"half of the rounds between {live.ratio_q25:.2f} and {live.ratio_q75:.2f}",
    )
    against = f"the time of the same zeros made permanent ({live.case})"
    if speed(live) == "slower":
        return Finding("Live masks", f"A live mask costs time on every pass: {ratio} {against}.", "bad")
    if live.ratio_q75 - live.ratio_q25 > NOISY:
        return Finding("Live masks", f"What a live mask costs cannot be told from noise: {ratio}, {spread}.")
    return Finding("Live masks", f"A live mask costs no measurable time: {ratio} {against}.")


def _noise_finding(comparison: Comparison) -> Finding | None:
    """Says that the machine was not quiet, where the rounds of a typical case say so."""
    spreads = [case.latency.ratio_q75 - case.latency.ratio_q25 for case in comparison.candidates if case.latency]
    if not spreads or median(spreads) <= NOISY:
        return None
    text = (
        f"The machine was busy: half of a typical case's rounds span {formats.percent(median(spreads))} of the "
        "unpruned network's time. Differences below that mean nothing; time again on a quiet machine."
    )
    return Finding("Timing noise", text, "mixed")
