"""What pruning came to, in sentences: each one worded by the figures, none written beforehand."""

from __future__ import annotations

from sapwood.report import formats
from sapwood.report.answers import points_text, times_as_fast
from sapwood.report.findings import Finding, Tone
from sapwood.report.latency import place_text, time_rows
from sapwood.report.names import runtime_name
from sapwood.report.noise import noise_text
from sapwood.report.proof import SAME, difference
from sapwood.report.records import Inspection, Losses, Pruning, TargetLatency
from sapwood.report.sensitivity import trial_columns
from sapwood.report.shrinking import is_proven
from sapwood.report.standing import KEEPS

SIDE = 3
"""Layers or groups that a sentence names."""


def pruned_headline(pruning: Pruning) -> Finding:
    """Returns what pruning came to: the measured time, or the size where none was; and what is known of accuracy."""
    latency, known = pruning.latency, _known_loss(pruning)
    tone: Tone = "good" if is_of_use(pruning) else "bad"
    if latency is None:
        kept = formats.percent(_share(pruning.after.params, pruning.before.params))
        macs = formats.percent(_share(pruning.after.macs, pruning.before.macs))
        text = f"The network keeps {kept} of its parameters and {macs} of its multiply-accumulates{known}."
        return Finding("Size", text, tone if pruning.after.params < pruning.before.params else "plain")
    size = formats.percent(_share(pruning.after.file_bytes, pruning.before.file_bytes))
    where = runtime_name(str(latency.conditions.get("runtime", "torch")))
    text = f"{times_as_fast(latency.ratio)} in {where}, {size} of the size{known}."
    if latency.met:
        return Finding("Speed", text, tone)
    return Finding("Speed", f"{text} The target of {_asked(latency)} is missed.", "bad")


def lost_against_dense(pruning: Pruning) -> float | None:
    """How much of what the dense network finds the recovered one does not, in [0, 1]; None where nobody measured it.

    The dense network agrees with itself in full.
    """
    if pruning.recovery is None or pruning.agreement is None:
        return None
    return 1.0 - round(pruning.agreement.networks["recovered"].value, 3)


def computes_the_same(pruning: Pruning) -> bool:
    """Whether a network's outputs are those of the one before, so that its accuracy is."""
    moved = pruning.verification.distance_from_dense
    return pruning.recovery is None and is_proven(pruning) and moved is not None and moved < SAME


def is_of_use(pruning: Pruning) -> bool:
    """Whether nothing that is known of the accuracy speaks against a network."""
    lost = lost_against_dense(pruning)
    return lost is None or 1.0 - lost >= KEEPS


def _known_loss(pruning: Pruning) -> str:
    lost = lost_against_dense(pruning)
    if lost is None or pruning.agreement is None:
        return "" if computes_the_same(pruning) else "; accuracy not measured"
    return f"; {points_text(lost, pruning.agreement.figure)}, judged by the dense network"


def pruned_findings(pruning: Pruning) -> tuple[Finding, ...]:
    """Returns the sentences below the headline."""
    found = []
    if pruning.latency is not None:
        found += [*_target(pruning.latency), *_where(pruning.latency), _prediction(pruning.latency)]
        found += _noise(pruning.latency.ratio_q3 - pruning.latency.ratio_q1)
    found.append(_size(pruning))
    if pruning.sensitivity is not None:
        found += sensitivity_findings(pruning.sensitivity)
    return (*found, _proof(pruning))


def inspect_headline(inspection: Inspection) -> Finding:
    """Returns what inspecting found first: where the time goes, else what hurts most, else the size."""
    latency, losses = inspection.latency, inspection.sensitivity
    if latency is not None and latency.layers:
        rows = time_rows(latency.layers)
        top = [row for row in rows if row.num_layers == 1][:SIDE]
        share = formats.percent(sum(row.share_before for row in top))
        names = ", ".join(row.name for row in top)
        where = place_text(latency.conditions)
        total = formats.milliseconds(latency.total_ms)
        return Finding("Time", f"{share} of {total} in {where} goes into {names}.")
    if losses is not None and losses.rows:
        return Finding("Sensitivity", sensitivity_findings(losses)[0].text)
    sizes = formats.count(inspection.params), formats.count(inspection.macs)
    return Finding("Size", "{} parameters, {} multiply-accumulates.".format(*sizes))


def sensitivity_findings(losses: Losses) -> list[Finding]:
    """Returns which groups suffer most and least when pruned alone."""
    columns, groups = trial_columns(losses)
    if not columns:
        return []
    order = sorted(groups, key=lambda group: -group.worst)
    kept = formats.percent(columns[0])
    text = f"With about {kept} of its channels, {order[0].name} costs {formats.loss(order[0].worst)} ({losses.figure})"
    if len(order) > 1:
        text += f", {order[-1].name} only {formats.loss(order[-1].worst)}"
    return [Finding("Sensitivity", f"{text}.")]


def _target(latency: TargetLatency) -> list[Finding]:
    """What was asked for and what came, where anything was asked for."""
    if latency.target is None:
        return []
    spread = f"half of the rounds between {latency.ratio_q1:.3f} and {latency.ratio_q3:.3f}"
    verdict, tone = ("met", "good") if latency.met else ("missed", "bad")
    took = "" if latency.target_ms is None else f"{formats.milliseconds(latency.pruned_ms)}, "
    text = f"{_asked(latency)} asked for, {took}{latency.ratio:.3f}× measured ({spread}): {verdict}."
    return [Finding("Target", text, tone)]  # type: ignore[arg-type]


def _asked(latency: TargetLatency) -> str:
    return f"{latency.target:g}×" if latency.target_ms is None else f"{latency.target_ms:g} ms"


def _where(latency: TargetLatency) -> list[Finding]:
    """The layers that hold most of the time that is left, and those that are slower than their work."""
    rows = time_rows(latency.layers)
    if not rows:
        return [Finding("Layers", f"{place_text(latency.conditions)} does not tell layers apart.")]
    single = sorted((row for row in rows if row.num_layers == 1), key=lambda row: -(row.after_ms or 0.0))
    top = single[:SIDE]
    names = ", ".join(f"{row.name} ({formats.percent(row.share_after)})" for row in top)
    held = [row for row in single if row.reason]
    text = f"Most of the time that is left is in {names}."
    if held:
        share = formats.percent(sum(row.share_after or 0.0 for row in held))
        rows_held = f"{len(held)} row" + (" has" if len(held) == 1 else "s have")
        text += f" {rows_held} a reason for not being faster; together {share} of the time."
    return [Finding("Layers", text)]


def _prediction(latency: TargetLatency) -> Finding:
    error = abs(latency.ratio / latency.predicted - 1.0) if latency.predicted else 0.0
    text = (
        f"For the network that was taken {latency.predicted:.3f}× had been predicted, {formats.percent(error)} from "
        f"what was measured; the fitted layer times are off by {formats.percent(latency.fit_error)} (median)."
    )
    return Finding("Prediction", text)


def _noise(spread: float) -> list[Finding]:
    """Says that the machine was not quiet, where the rounds say so."""
    told = noise_text(spread).removeprefix("; ")
    return [Finding("Timing noise", f"{told[0].upper()}{told[1:]}.", "mixed")] if told else []


def _size(pruning: Pruning) -> Finding:
    before, after = pruning.before, pruning.after
    text = (
        f"{formats.count(before.params)} to {formats.count(after.params)} parameters, {formats.count(before.macs)} to "
        f"{formats.count(after.macs)} MACs, {formats.megabytes(before.file_bytes)} to "
        f"{formats.megabytes(after.file_bytes)}."
    )
    return Finding("Size", text)


def _proof(pruning: Pruning) -> Finding:
    proof = pruning.verification
    found = (
        f"{difference(float(proof.max_abs_error))} of the largest output in {proof.dtype}{_before_recovery(pruning)}"
    )
    tone: Tone = "plain"  # equal outputs are what pruning promises, and no good news about accuracy
    if is_proven(pruning):
        text = f"The smaller network computes what the masked one does; they differ by {found}."
    else:
        text, tone = f"The smaller network differs from the masked one by {found}.", "mixed"
    if proof.distance_from_dense is not None:
        advice = "measure the accuracy, and recover or train" if pruning.recovery is None else "recovery started there"
        moved = difference(proof.distance_from_dense)
        text += (
            f" Accuracy is another matter: what was removed moves the outputs by {moved} of the largest one on the "
            f"example inputs; {advice}."
        )
    return Finding("Proof", text, tone)


def _before_recovery(pruning: Pruning) -> str:
    """The proof is about channels; a recovery changes the weights that stay afterwards."""
    return "" if pruning.recovery is None else ", both as they were before recovery changed what stays"


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
