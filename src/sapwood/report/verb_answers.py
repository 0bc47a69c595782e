"""The five questions, answered by `prune`, `inspect`, `bench` and `run`."""

from __future__ import annotations

import shlex

from sapwood.report import formats
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, get_commands, points_text, where_text
from sapwood.report.findings import Tone
from sapwood.report.latency import place_text
from sapwood.report.names import runtime_name
from sapwood.report.noise import NOISY, noise_text
from sapwood.report.proof import difference
from sapwood.report.pruned_findings import computes_the_same, is_of_use, lost_against_dense
from sapwood.report.records import Inspection, MadeBy, Pruning
from sapwood.report.shrinking import is_proven

UNMEASURED = "not measured"


def prune_answers(pruning: Pruning) -> tuple[Answer, ...]:
    """How much faster and smaller a pruned network is, and what that is known to cost: nothing is known of accuracy."""
    latency, made = pruning.latency, pruning.made
    share = _share(pruning.after.macs, pruning.before.macs)
    small = _share(pruning.after.file_bytes, pruning.before.file_bytes)
    if latency is None:
        fast = Answer(FASTER, UNMEASURED, f"{share} of the multiply-accumulates and {small} of the size are left")
        place = Answer(PLACE, UNMEASURED, "sapwood bench times both networks on every runtime")
    else:
        took = f"{formats.milliseconds(latency.pruned_ms)} instead of {formats.milliseconds(latency.dense_ms)} a call; "
        took += f"{share} of the multiply-accumulates and {small} of the size are left"
        tone: Tone = "good" if latency.met and is_of_use(pruning) else "bad"
        fast = Answer(FASTER, f"{1.0 / latency.ratio:.1f}×", took, tone=tone)
        threads = {"threads": latency.conditions.get("threads"), "cpu": latency.conditions.get("cpu")}
        place = Answer(PLACE, runtime_name(str(latency.conditions.get("runtime", "torch"))), where_text(threads))
    return (
        fast,
        place,
        _lost(pruning),
        _sure(pruning),
        Answer(GET, "", "", get_commands(made, pruning.files.get("saved"), pruning.options.get("data"))),
    )


def inspect_answers(inspection: Inspection) -> tuple[Answer, ...]:
    """What there is to gain, where, and how it is got."""
    latency = inspection.latency
    sizes = f"{formats.count(inspection.params)} parameters, {formats.megabytes(inspection.file_bytes)}"
    loose = sum(group.channels for group in inspection.groups)
    slowest = max((one for one in latency.layers), key=lambda one: one.before_ms, default=None) if latency else None
    goal = ["--macs", "0.5"]
    if latency is None:
        time = Answer("How long does it take?", UNMEASURED, "--layer-times measures every layer")
    else:
        where, spread = place_text(latency.conditions), latency.spread
        goal = ["--latency", "0.5", "--runtime", str(latency.conditions.get("runtime", "torch"))]
        time = Answer(
            "How long does it take?", formats.milliseconds(latency.total_ms), f"a call in {where}{_steadiness(spread)}"
        )
    made = inspection.made
    then = made.then if made else (shlex.join(["sapwood", "prune", inspection.model, *goal, "-o", "small"]),)
    place = Answer(
        "Where does it go?",
        UNMEASURED
        if slowest is None
        else formats.percent(_of(slowest.before_ms, latency.total_ms if latency else 0.0)),
        "" if slowest is None else f"in {slowest.layer}, the slowest layer",
    )
    return (
        time,
        place,
        Answer("How big is it?", formats.count(inspection.macs), f"multiply-accumulates; {sizes}"),
        Answer(
            "What can go?",
            f"{loose} channels",
            f"in {len(inspection.groups)} groups; {len(inspection.unpruned)} dimensions stay whole",
        ),
        Answer("What comes next?", "", "", then),
    )


def made_rows(made: MadeBy | None) -> dict[str, object]:
    """By what command, when, with which versions, on what: for the conditions of a page."""
    if made is None:
        return {}
    return {
        "command": made.command,
        "date": made.date,
        "sapwood": made.sapwood,
        **made.machine,
        **made.versions,
    }


def _lost(pruning: Pruning) -> Answer:
    """What is known of accuracy: nothing, or how far the recovered network finds what the dense one does."""
    agreement, lost = pruning.agreement, lost_against_dense(pruning)
    if agreement is not None and lost is not None:
        was, now = (agreement.networks[name].value for name in ("pruned", "recovered"))
        pictures = formats.several(agreement.num_images, "picture")
        told = f"judged by what {agreement.against} finds in {pictures}: {agreement.figure} "
        told += f"{formats.score(now)}, {formats.score(was)} before recovery; sapwood eval measures it against labels"
        text = points_text(lost, agreement.figure).removesuffix(" lost")
        return Answer(LOST, text, told, tone="good" if is_of_use(pruning) else "bad")
    if pruning.recovery is not None:
        return Answer(
            LOST, UNMEASURED, "accuracy: recovery changed the weights after the proof; sapwood eval measures it"
        )
    if computes_the_same(pruning):
        return Answer(LOST, "nothing", "outputs are as they were before")
    moved = pruning.verification.distance_from_dense
    told = "" if moved is None else f"outputs moved by {difference(moved)} of the largest one; "
    return Answer(LOST, UNMEASURED, f"accuracy: {told}sapwood eval measures it")


def _sure(pruning: Pruning) -> Answer:
    """How far the figures above hold: of the accuracy, where it was measured, else of the cut; and of the time."""
    agreement, proven = pruning.agreement, is_proven(pruning)
    error = f"differs from the masked network by {difference(float(pruning.verification.max_abs_error))} of the largest"
    if pruning.recovery is None:
        text, told = ("proven" if proven else "not proven"), [f"{error} output, in float64"]
    else:
        text = "proven before recovery" if proven else "not proven"
        told = [] if proven else [f"before recovery it {error} output, in float64"]
        if agreement is not None:
            found = agreement.networks["recovered"]
            text = f"± {100.0 * found.half:.1f} points"
            told = [f"95 of 100 samples of {formats.several(agreement.num_images, 'picture')}", *told]
            told += ["the cut is proven, before recovery"] if proven else []
    if pruning.latency is not None:
        low, high = pruning.latency.ratio_q1, pruning.latency.ratio_q3
        slow, fast = (f"{1.0 / max(one, 1e-9):.1f}" for one in (high, low))
        told.append(f"half of the rounds {slow} to {fast} times as fast{noise_text(high - low)}")
    return Answer(SURE, text, "; ".join(told))


def _steadiness(spread: float | None) -> str:
    """How near to each other the rounds were that a time is the median of."""
    if spread is None:
        return ""
    return noise_text(spread) if spread > NOISY else f"; half of the rounds are within {formats.percent(spread)}"


def _share(part: float, whole: float) -> str:
    return formats.percent(_of(part, whole))


def _of(part: float, whole: float) -> float | None:
    return part / whole if whole else None
