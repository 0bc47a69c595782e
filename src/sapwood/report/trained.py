"""The page of `sapwood train`: how good the network is now, and how it got there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats
from sapwood.report.answers import GET, SURE, Answer, where_text
from sapwood.report.findings import Finding
from sapwood.report.plots.accuracy import AccuracyPlot
from sapwood.report.plots.epochs import epoch_plot
from sapwood.report.records import Estimated, TrainingRecord
from sapwood.report.sheet import Sheet, SheetPart, shares
from sapwood.report.table import TextTable, columns

GOOD, TOOK, DONE = "How good is it?", "How long did it take?", "Would more help?"
LOSS = "total"
"""What the history calls the loss that is minimised."""
ZEROS = "gradual_zeros"
"""What the history calls the fraction of weights that gradual pruning has taken away."""
LATE = 0.1
"""Of the epochs, the last ones: where the best is among them, more may help."""


def training_sheet(record: TrainingRecord) -> Sheet:
    """The page of a trained network."""
    curves = tuple(plot for plot in (_accuracies(record), _losses(record)) if plot is not None)
    sections = [SheetPart("epochs", "Epoch by epoch", _how(record), curves=curves, table=_epochs(record))]
    if len(record.per_class) > 1:
        ranked = sorted(record.per_class, key=lambda name: record.per_class[name], reverse=True)
        bars = shares(record.per_class, str(record.primary), names=ranked)
        sections.append(SheetPart("classes", "Class by class", f"{record.primary} of each class.", bars))
    sections.append(SheetPart("files", "Files", table=_files(record)))
    if record.skipped:
        sections.append(SheetPart("skipped", "Left out", lines=record.skipped))
    subject = " · ".join(part for part in (record.model, record.data) if part)
    return Sheet("train", subject, Finding("Accuracy", _told(record)), _answers(record), tuple(sections))


def _told(record: TrainingRecord) -> str:
    epochs = f"{record.epochs} epoch{'' if record.epochs == 1 else 's'}"
    value, zeros = _value(record), _zeros(record)
    gone = "" if zeros is None else f", with {zeros:.0%} zeros in the layers that were pruned".replace("%", " %")
    if value is None:
        return f"Trained for {epochs}{gone}; accuracy was not measured."
    return f"{record.primary} is {formats.score(value)}{_span(record.interval)} after {epochs}{gone}."


def _answers(record: TrainingRecord) -> tuple[Answer, ...]:
    value = _value(record)
    metrics = record.metrics or {}
    others = [f"{name} {formats.score(one)}" for name, one in metrics.items() if name != record.primary]
    pictures = f"{formats.several(record.num_images, 'picture')} of {record.data} {record.split}".strip()
    samples = f"95 of 100 samples of {pictures}" if record.interval else f"measured on {pictures}"
    return (
        Answer(
            GOOD,
            "not measured" if value is None else formats.score(value),
            "; ".join([str(record.primary), *others]) if value is not None else "--split names pictures to measure on",
        ),
        Answer(TOOK, *_took(record)),
        Answer(DONE, *_more(record)),
        Answer(
            SURE,
            "no ± measured" if record.interval is None else f"± {100.0 * record.interval.half:.1f} points",
            "" if value is None else f"{samples}; the best epoch was chosen by the same pictures",
        ),
        Answer(GET, "", "", record.made.commands if record.made else ()),
    )


def _value(record: TrainingRecord) -> float | None:
    return None if record.metrics is None or record.primary is None else record.metrics.get(record.primary)


def _span(found: Estimated | None) -> str:
    return "" if found is None else f" ± {formats.score(found.half)}"


def _took(record: TrainingRecord) -> tuple[str, str]:
    """Seconds of all epochs, and of one."""
    seconds = [_number(one, "seconds") + _number(one, "eval_seconds") for one in record.history]
    if not seconds:
        return "not measured", ""
    total, machine = sum(seconds), record.made.machine if record.made else {}
    whole = f"{total / 3600:.1f} h" if total >= 3600 else f"{total / 60:.0f} min" if total >= 120 else ""
    rates = [rate for one in record.history if (rate := _number(one, "images_per_second"))]
    speed = f"{formats.three(sum(rates) / len(rates))} pictures a second" if rates else ""
    told = [f"{formats.seconds(total / len(seconds))} an epoch", speed, where_text(machine)]
    return whole or formats.seconds(total), "; ".join(part for part in told if part)


def _more(record: TrainingRecord) -> tuple[str, str]:
    """Whether the figures were still rising at the end."""
    complete = _complete(record)
    found = [one for one in _measured(record, record.primary) if one[0] in complete]
    if len(found) < 2:
        after = "" if len(complete) == len(record.history) else ", once all zeros were there"
        return "cannot be told", f"accuracy was measured fewer than two times{after}"
    if not any(figure for _, figure in found):
        return "cannot be told", "the network finds nothing yet: every epoch has 0"
    best, _ = max(found, key=lambda one: one[1])
    last = found[-1][0]
    told = f"the best epoch was {best} of {last}"
    if best > last - max(1, round(LATE * last)):
        return "perhaps", f"{told}: accuracy was still rising; the same command with --resume and more --epochs goes on"
    return "hardly", f"{told}; what came after was no better"


def _complete(record: TrainingRecord) -> set[int]:
    """The epochs that compare: those in which as many weights had gone as in the end."""
    last = _zeros(record)
    places = range(1, len(record.history) + 1)
    return {place for place in places if last is None or _number(record.history[place - 1], ZEROS) >= last - 1e-6}


def _zeros(record: TrainingRecord) -> float | None:
    """The fraction of weights that had gone in the end; None without gradual pruning."""
    last = record.history[-1] if record.history else {}
    return _number(last, ZEROS) if ZEROS in last else None


def _how(record: TrainingRecord) -> str:
    teacher = f", with {record.teacher} as teacher" if record.teacher else ""
    return f"Learnt from {record.data} {record.train_split}{teacher}." if record.data else ""


def _accuracies(record: TrainingRecord) -> AccuracyPlot | None:
    found = {name: _measured(record, name) for name in record.metrics or {}}
    value = _value(record)
    if value is None or not found:
        return None
    ordered = {str(record.primary): found.pop(str(record.primary)), **found}
    return epoch_plot({name: line for name, line in ordered.items() if line}, (value, f"kept {formats.score(value)}"))


def _losses(record: TrainingRecord) -> AccuracyPlot | None:
    found = [(epoch, value) for epoch, value in _measured(record, LOSS) if value >= 0.0]
    return epoch_plot({"loss": found}, (found[-1][1], f"last {formats.three(found[-1][1])}")) if found else None


def _measured(record: TrainingRecord, name: str | None) -> list[tuple[int, float]]:
    """Epochs that have a figure, and the figure."""
    figures = [(place, one.get(str(name))) for place, one in enumerate(record.history, start=1)]
    return [(place, float(figure)) for place, figure in figures if isinstance(figure, int | float)]


def _number(epoch: Mapping[str, Any], name: str) -> float:
    value = epoch.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _epochs(record: TrainingRecord) -> TextTable | None:
    if not record.history:
        return None
    metrics, zeros = list(record.metrics or {}), ["zeros"] if _zeros(record) is not None else []
    rows = tuple(
        (
            str(place),
            formats.three(_number(one, LOSS)) if LOSS in one else formats.MISSING,
            *(formats.score(one.get(name)) for name in metrics),
            *(f"{100.0 * _number(one, ZEROS):.0f} %" for _ in zeros),
            f"{_number(one, 'lr'):.2g}",
            formats.seconds(_number(one, "seconds") + _number(one, "eval_seconds")),
        )
        for place, one in enumerate(record.history, start=1)
    )
    return TextTable("Epochs", columns("epoch", "loss", *metrics, *zeros, "learning rate", "time"), rows)


def _files(record: TrainingRecord) -> TextTable:
    return TextTable("Files", columns("what", "where", words=["where"]), tuple(record.files.items()))
