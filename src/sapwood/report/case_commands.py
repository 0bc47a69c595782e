"""The commands that make a case of a comparison outside of it: they can be typed as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from sapwood.report.records import CaseResult, Comparison

PRUNE_OPTIONS = {
    "sparsity": "--sparsity",
    "params": "--params",
    "macs": "--macs",
    "latency": "--latency",
    "runtime": "--runtime",
    "criterion": "--criterion",
    "allocator": "--allocator",
    "recover": "--recover",
    "low_rank": "--low-rank",
    "round_to": "--round-to",
    "minimum": "--minimum",
}
MASK_OPTIONS = {
    "method": "--method",
    "sparsity": "--sparsity",
    "scope": "--scope",
    "layers": "--layers",
    "pattern": "--pattern",
    "n": "--n",
    "dim": "--dim",
    "seed": "--seed",
    "mask_file": "--mask-file",
    "criterion": "--criterion",
    "budget": "--budget",
    "blocks": "--blocks",
    "recover": "--recover",
    "reselect": "--reselect",
}
"""Fields of rows, and the options that say the same."""

PRUNE_DEFAULTS: Mapping[str, Any] = {
    "runtime": "torch",
    "criterion": "l2",
    "recover": "none",
    "low_rank": False,
    "round_to": 1,
    "minimum": 1,
}
MASK_DEFAULTS: Mapping[str, Any] = {
    "scope": "local",
    "n": 2.0,
    "dim": 0,
    "seed": 0,
    "criterion": "magnitude",
    "budget": "uniform",
    "blocks": "unstructured",
    "recover": "none",
}
"""What the options say where they are not given."""

NO_DATA = ("l1", "l2", "random", "bn_scale", "magnitude", "norm", "lamp")
"""Criteria that look at weights alone."""


def commands_for(case: CaseResult, comparison: Comparison, runtime: str = "onnxruntime") -> tuple[str, ...]:
    """The commands that make a case, or the like of it, with the network and the data that were compared.

    Of a network that was made before, of which nobody said how: what puts it on ``runtime``.
    """
    given = case.settings
    if given.get("commands"):
        return tuple(str(line) for line in given["commands"])
    if case.kind == "model" and given.get("model"):
        made = str(given["model"])
        if runtime == "sapwood":
            return (shlex.join(["sapwood", "compile", made, "-o", "fast"]),)
        return (shlex.join(["sapwood", "export", made, "-o", "model.onnx"]),)
    model = [comparison.model.spec]
    if comparison.model.weights:
        model += ["--weights", comparison.model.weights]
    if case.kind == "prune":
        options = [*_options(given, PRUNE_OPTIONS, PRUNE_DEFAULTS), *_data(given, comparison)]
        return (shlex.join(["sapwood", "prune", *model, *options, "-o", "small"]),)
    if case.kind in {"mask", "compact"}:
        options = [*_options(given, MASK_OPTIONS, MASK_DEFAULTS), *_data(given, comparison)]
        mask = shlex.join(["sapwood", "mask", *model, *options, "-o", "masked"])
        exact = [] if given.get("exact", True) else ["--inexact"]
        then = [shlex.join(["sapwood", "compact", "masked", *exact, "-o", "small"])] if case.kind == "compact" else []
        return (mask, *then)
    return ()


def _options(given: Mapping[str, Any], options: Mapping[str, str], defaults: Mapping[str, Any]) -> list[str]:
    """What a row says, as options of the command."""
    found: list[str] = []
    for field, option in options.items():
        value = given.get(field)
        if value is None or value == defaults.get(field):
            continue
        if isinstance(value, bool):
            found.append(option if value else option.replace("--", "--no-", 1))
            continue
        found += [option, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return found


def _data(given: Mapping[str, Any], comparison: Comparison) -> list[str]:
    """The pictures that were given, for rows that look at some."""
    looks = given.get("recover", "none") != "none" or (given.get("criterion") or "l2") not in NO_DATA
    looks = looks or bool(given.get("low_rank"))
    return ["--data", _option(comparison.command, "--data") or "DIR"] if looks else []


def _option(command: str, name: str) -> str | None:
    """What stands behind an option in a command that was typed; None where it is not there.

    Examples:
        >>> _option("sapwood compare net.cfg --data 'my pictures'", "--data"), _option("sapwood demo", "--data")
        ('my pictures', None)
        >>> _option("sapwood compare net.cfg --data=coco", "--data")
        'coco'
    """
    try:
        typed = shlex.split(command)
    except ValueError:  # an old record may hold anything
        return None
    for place, text in enumerate(typed):
        if text == name:
            return typed[place + 1] if place + 1 < len(typed) else None
        if text.startswith(f"{name}="):
            return text.partition("=")[2]
    return None
