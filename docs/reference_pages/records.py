"""What the verbs print with `--json`, field by field: what the records hold."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from reference_pages.configuration import kinds
from reference_pages.markdown import MADE, code, documented_fields, first_paragraph, table
from sapwood.report import records
from sapwood.report.records.parts import RecordPart, VerbRecord

INTRODUCTION = """# JSON of the commands

`--json` prints one of these to standard output, and nothing else there; directories hold the same as `report.json`,
`compare.json` or `run.json`. `schema` says which, and its number changes with the meaning of a field; fields may be
added, so leave alone what you do not know. A name means the same in every record, but for
EXCEPTIONS, whose rows say what they are there. Numbers are finite, never `NaN` or `Infinity`; what is not known is
`null` or left out. Fractions are between 0 and 1. Names that end in `_ms` are
milliseconds, `_bytes` bytes; `seconds` are seconds.

"""

SHARED = {
    "after": "The network that came of it.",
    "after_ms": "Time in the pruned network, in milliseconds.",
    "attempts": "The networks that were measured on the way: what was predicted, and what came.",
    "before": "The network that was given.",
    "before_ms": "Time in the network that was given, in milliseconds.",
    "best_step": "The step whose weights were kept.",
    "blocks": "What the outputs lose without each residual block.",
    "box": "Left, top, right, bottom, in pixels of the picture.",
    "case": "Which case.",
    "cases": "The networks that were compared; the first is the unpruned one.",
    "channels": "How many channels it has.",
    "checks": "Divergence from the dense network on pictures that were held out, step by step.",
    "class": "Name of the class.",
    "command": "What was typed.",
    "conditions": "What a time depends on: processor, threads, batch, rounds, versions.",
    "damping": "What was added to the diagonal of the equations, as a fraction of its mean.",
    "data": "The data set, and which part of it was looked at.",
    "dense": "The figure of the network that was given.",
    "dense_ms": "Time of the network that was given, in milliseconds.",
    "detections": "What was found in it.",
    "differences": "How far each network is above each other one, on the same samples of the pictures.",
    "dim": "Which dimension of it.",
    "directory": "Folder of the step, in that of the run.",
    "distance_from_dense": "How far outputs moved from the dense ones, as a fraction of the largest; None if untold.",
    "divergence": "How far outputs are from the dense network's.",
    "drawn": "The picture with its boxes, where one was written.",
    "dtype": "The type of number in which they were compared.",
    "earlier": "Steps of before that were not looked at again.",
    "error_after": "How far the layer's outputs were from the dense network's afterwards, as a fraction.",
    "error_before": "The same before.",
    "estimate": "How far the first is above the other.",
    "figure": "Which figure it is, as `mAP@0.5` or `top-1`.",
    "file_bytes": "Size of the weights as a file.",
    "fingerprint": "A hash of all that the step depends on.",
    "first": "The channels that would go first.",
    "fit_error": "How far fitted times of layers were from measured ones, as a fraction.",
    "found": "The boxes in it.",
    "group": "Name of the group of channels.",
    "height": "In pixels.",
    "high": "95 of 100 samples of the pictures are below it.",
    "hook": "Whether a live mask of PyTorch hangs on it.",
    "id": "Which picture.",
    "image": "Path of the picture.",
    "indices": "Which of its indices.",
    "input_size": "Height and width that pictures are brought to.",
    "jpeg": "The picture, in base64.",
    "kept": "How many channels were kept in each trial.",
    "keys": "Its names in the state dict.",
    "kind": "Class of the module, or kind of the row.",
    "layer": "Path of the layer in the model; `(runtime)` is what the runtime adds.",
    "layers": "A row a layer.",
    "left_alone": "Layers that were not solved, and why.",
    "live": "Whether its mask is live.",
    "live_params": "Numbers under live masks.",
    "live_sparsity": "Fraction of them that the masks set to zero.",
    "live_zeros": "How many of them the masks set to zero.",
    "location": "Line of the model's code.",
    "loss": "How much worse the figure became.",
    "losses": "How much worse the figure became in each trial.",
    "low": "95 of 100 samples of the pictures are above it.",
    "macs": "Multiply-accumulates of one input.",
    "macs_after": "Multiply-accumulates in the pruned network.",
    "macs_before": "Multiply-accumulates in the network that was given.",
    "masked_ms": "Time with its zeros, in milliseconds.",
    "max_abs_error": "The largest difference of an output, as a fraction of the largest; text where not finite.",
    "max_relative_error": "The largest difference of an output, as a fraction of the largest.",
    "measured": "What was measured.",
    "median_ms": "Time of a call in milliseconds, the median of the rounds.",
    "members": "The tensors, and which of their dimensions, that its channels are in.",
    "met": "Whether the target is met.",
    "method": "`batchnorm`, `reconstruct` or `distill`.",
    "metrics": "Every figure of accuracy, in [0, 1], by its name.",
    "min_ms": "The least time of a call, in milliseconds.",
    "missed": "What was asked for and not met.",
    "model": "The model, as it was named.",
    "module": "Path of the module.",
    "ms": "Time in milliseconds.",
    "name": "What it is called.",
    "network": "The first network.",
    "nonzero_macs": "Multiply-accumulates with weights that are not zero.",
    "nonzeros": "Parameters that are not zero.",
    "norms": "BatchNorms whose statistics were set.",
    "num_channels": "How many channels it has.",
    "num_classes": "How many classes the model tells apart.",
    "num_found": "Findings of the dense network that stood for labels.",
    "num_images": "Pictures that were measured on.",
    "num_live": "Tensors with live masks.",
    "num_params": "How many numbers it holds.",
    "num_pictures": "Pictures that were looked at.",
    "num_rows": "Equations that were solved.",
    "num_steps": "How many steps the recipe has.",
    "num_unknowns": "Numbers that they were solved for.",
    "num_zeros": "How many of them are zero.",
    "numel": "How many numbers it holds.",
    "op": "The operator.",
    "other": "The other network.",
    "others_weight": "What pictures of other data counted, beside those of the first.",
    "params": "Parameters.",
    "passed": "Whether the difference is rounding alone.",
    "path": "Where it is.",
    "per_class": "The primary figure of each class, by its name.",
    "pictures": "The pictures that the page shows.",
    "pooled_norms": "Norms that pool over channels, whose groups changed.",
    "predicted": "What was predicted.",
    "primary": "Which of `metrics` networks are compared by.",
    "pruned_ms": "Time of the pruned network, in milliseconds.",
    "q25_ms": "Lower quartile of the rounds, in milliseconds (`q1_ms` of `bench`).",
    "q75_ms": "Upper quartile of the rounds, in milliseconds (`q3_ms` of `bench`).",
    "ratio": "Time after over time before, the median of the rounds.",
    "ratio_q1": "Its lower quartile.",
    "ratio_q25": "Its lower quartile (`ratio_q1` elsewhere).",
    "ratio_q3": "Its upper quartile.",
    "ratio_q75": "Its upper quartile (`ratio_q3` elsewhere).",
    "reason": "Why, in words; empty where there is nothing to say.",
    "resampled": "The primary figure of samples of the pictures, drawn with replacement.",
    "result": "What the step printed with `--json`.",
    "rows": "A row a group, or a pair.",
    "runtime": "A name of a runtime.",
    "sapwood": "Version of Sapwood that wrote it.",
    "schema": "Which record it is, and which version of it.",
    "score": "How sure the network is, in [0, 1].",
    "seconds": "How long it took, in seconds.",
    "shape": "Its sizes.",
    "size": "Of the network that the step made.",
    "size_bytes": "Size in bytes.",
    "skipped": "Pictures that could not be read, a sentence each.",
    "sparsity": "Fraction of zeros.",
    "spec": "As it was named.",
    "state": "`begun`, `done`, or `missed` a target.",
    "step": "Which step.",
    "steps": "What was done, in order.",
    "target": "The fraction of the time that was asked for.",
    "task": "What it is for, as `detection`.",
    "tensor": "Name of a parameter.",
    "tensors": "A row a tensor.",
    "tolerance": "The largest difference that passes.",
    "total_ms": "Time of the whole network, in milliseconds.",
    "uncounted": "Operators that were not counted.",
    "unit": "What was looked at: `pictures`, `texts` or other inputs.",
    "unpruned": "Dimensions that stay whole, and why.",
    "value": "The figure.",
    "verb": "The command of the step.",
    "verification": "How the result was compared with the masked network.",
    "weights": "The file of weights that was given.",
    "width": "In pixels.",
    "worst": "The largest loss of all trials.",
    "zeros": "How many of its numbers are zero.",
}
"""What a field means wherever a record says nothing else of it: a name means one thing."""

EXCEPTIONS = ("case", "channels", "data", "macs", "measured", "model", "seconds", "weights")
"""Names that are not of one kind everywhere."""

VERBS = {
    "sapwood.agreement": "eval --against",
    "sapwood.prune": "prune, compact",
}
"""Verbs whose schema is called otherwise."""


class Row(NamedTuple):
    """A field: its name in the JSON, its type, and what it means."""

    name: str
    annotation: Any
    meaning: str


def verb_records() -> dict[str, type]:
    """Returns the record of every verb, by its schema."""
    found = {str(_schema(kind)): kind for kind in _below(VerbRecord)}
    found[records.BenchRecord.schema] = records.BenchRecord
    return dict(sorted(found.items()))


def records_page() -> str:
    """The page: a section a record, and one for each part that they are made of."""
    texts = [MADE, INTRODUCTION.replace("EXCEPTIONS", ", ".join(map(code, EXCEPTIONS)))]
    for schema, kind in verb_records().items():
        verb = schema.partition("/")[0]
        title = VERBS.get(verb, verb.removeprefix("sapwood."))
        texts.append(f"## `{title}`: `{schema}`\n\n{first_paragraph(kind)}\n\n{_table(kind)}\n")
    texts.append("## Parts\n\n")
    texts += [
        f"### {name}\n\n{first_paragraph(part)}\n\n{_table(part)}\n" for name, part in sorted(all_parts().items())
    ]
    return "".join(texts)


def all_parts() -> dict[str, type]:
    """Returns what records are made of, by the class's name."""
    seen: set[type] = set()
    return {part.__name__: part for kind in verb_records().values() for part in _parts(kind, seen)}


def rows(kind: type) -> list[Row]:
    """The fields of a record as they are in its JSON."""
    meanings = documented_fields(kind)
    if not issubclass(kind, BaseModel):
        own = [(field.name, field.name, _types(kind)[field.name]) for field in dataclasses.fields(kind)]
    else:
        own = [
            (name, str(field.serialization_alias or name), _types(kind)[name])
            for name, field in kind.model_fields.items()
            if not field.exclude
        ]
    found = [
        Row(told, annotation, _meaning(meanings.get(name) or SHARED.get(told, ""))) for name, told, annotation in own
    ]
    return (
        [*found, Row("made", records.MadeBy, "By what command, and where.")] if kind is records.BenchRecord else found
    )


def _table(kind: type) -> str:
    return table(
        ["field", "value", "meaning"], [[code(one.name), kinds(one.annotation), one.meaning] for one in rows(kind)]
    )


def _meaning(text: str) -> str:
    """As JSON has it."""
    return re.sub(r"\bNone\b", "`null`", text)


def _types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _schema(kind: Any) -> str:
    return str(kind.model_fields["schema_id"].default)


def _below(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        if "schema_id" in getattr(one, "model_fields", {}):
            yield one
        yield from _below(one)


def _parts(kind: type, seen: set[type]) -> Iterator[type]:
    """The records inside of a record, however deep."""
    for one in rows(kind):
        for part in _inside(one.annotation):
            if part not in seen:
                seen.add(part)
                yield part
                yield from _parts(part, seen)


def _inside(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and (issubclass(annotation, RecordPart) or annotation is records.BenchRow):
        yield annotation
    for one in get_args(annotation):
        yield from _inside(one)
