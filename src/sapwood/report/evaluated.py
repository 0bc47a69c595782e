"""The pages of `sapwood eval`: how good a network is on a data set, or how far it agrees with another one."""

from __future__ import annotations

from sapwood.report import formats, view
from sapwood.report.agreement import agreement_table
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, where_text
from sapwood.report.console import evaluation_table
from sapwood.report.findings import Finding
from sapwood.report.names import runtime_name
from sapwood.report.records import AgreementRecord, Estimated, EvaluationRecord, MadeBy
from sapwood.report.sheet import Sheet, SheetPart, shares

GOOD, LONG, WEAK = "How good is it?", "How long does it take?", "Where is it weak?"
WEAKEST = 3
"""Classes that the first screen names."""


def evaluation_sheet(record: EvaluationRecord, made: MadeBy | None, then: tuple[str, ...] = ()) -> Sheet:
    """The page of an accuracy; ``then`` are the commands that may come next."""
    value = formats.score(record.metrics[record.primary])
    told = f"{record.primary} is {value}{_span(record.interval)} on {record.num_images} {record.unit} of {record.data}."
    classes = sorted(record.per_class, key=lambda name: record.per_class[name], reverse=True)
    sections = [SheetPart("figures", "In numbers", table=evaluation_table(record))]
    if len(classes) > 1:
        bars = shares(record.per_class, record.primary, names=classes)
        sections.insert(
            0, SheetPart("classes", "Class by class", f"{record.primary} of each class, the best first.", bars)
        )
    if record.skipped:
        sections.append(SheetPart("skipped", "Left out", lines=record.skipped))
    return Sheet(
        "eval",
        record.model,
        Finding("Accuracy", told),
        _evaluation_answers(record, made, then, classes),
        tuple(sections),
    )


def agreement_sheet(record: AgreementRecord, made: MadeBy | None, then: tuple[str, ...] = ()) -> Sheet:
    """The page of how far networks agree with the one that they were made from; ``then`` may come next."""
    best = max(record.networks, key=lambda name: record.networks[name].value)
    one = record.networks[best]
    value = f"{formats.percent(one.value)}"
    told = f"{best} agrees with {record.against} by {formats.score(one.value)}{_span(one)} ({record.figure})."
    whiskers = {name: (found.low, found.high) for name, found in record.networks.items()}
    bars = shares({name: found.value for name, found in record.networks.items()}, record.figure, whiskers)
    pictures = formats.several(record.num_images, "picture")
    looked = f"{pictures} of {record.data}, {record.num_found} findings of {record.against}"
    answers = (
        Answer(FASTER, "not measured", "sapwood bench times networks beside each other"),
        Answer(PLACE, "PyTorch", where_text(made.machine) if made else ""),
        Answer(LOST, formats.percent(1.0 - one.value), f"of what {record.against} finds; {value} is kept: {best}"),
        Answer(SURE, _half(one), f"95 of 100 samples of {looked}; no labels were looked at"),
        Answer(GET, "", "", (*((made.typed,) if made else ()), *then)),
    )
    sections = (
        SheetPart("networks", "Network by network", "The whisker spans 95 of 100 samples of the pictures.", bars),
        SheetPart("figures", "In numbers", table=agreement_table(record)),
    )
    return Sheet("eval", f"against {record.against}", Finding("Agreement", told), answers, sections)


def _evaluation_answers(
    record: EvaluationRecord, made: MadeBy | None, then: tuple[str, ...], classes: list[str]
) -> tuple[Answer, ...]:
    others = [f"{name} {formats.score(value)}" for name, value in record.metrics.items() if name != record.primary]
    samples = "95 of 100 samples of " if record.interval else ""
    left_out = f"; {len(record.skipped)} were left out" if record.skipped else ""
    return (
        Answer(GOOD, formats.score(record.metrics[record.primary]), "; ".join([record.primary, *others])),
        Answer(LONG, *_took(record, made)),
        Answer(WEAK, *(_weakest(record, classes) if len(classes) > 1 else ("", ""))),
        Answer(SURE, _half(record.interval), f"{samples}{record.num_images} {record.unit}{left_out}"),
        Answer(GET, "", "", (*((made.typed,) if made else ()), *then)),
    )


def _weakest(record: EvaluationRecord, classes: list[str]) -> tuple[str, str]:
    """The least figure of a class, and which classes have the least ones."""
    least, *others = classes[: -WEAKEST - 1 : -1]
    told = ", ".join(f"{name} ({formats.score(record.per_class[name])})" for name in others)
    return formats.score(record.per_class[least]), f"class {least}; then {told}"


def _took(record: EvaluationRecord, made: MadeBy | None) -> tuple[str, str]:
    """How long a picture took, and where."""
    each = {part: seconds / max(1, record.num_images) for part, seconds in record.seconds.items()}
    if not each:
        return "not measured", ""
    parts = ", ".join(f"{view.part_label(part, record.unit)} {formats.seconds(value)}" for part, value in each.items())
    where = where_text(made.machine) if made else ""
    told = [
        f"a {record.unit.removesuffix('s')} in {runtime_name(record.runtime)}: {parts}",
        where,
        "sapwood bench measures the network alone",
    ]
    return formats.seconds(sum(each.values())), "; ".join(part for part in told if part)


def _half(found: Estimated | None) -> str:
    return "no ± measured" if found is None else f"± {100.0 * found.half:.1f} points"


def _span(found: Estimated | None) -> str:
    return "" if found is None else f" ± {formats.score(found.half)}"
