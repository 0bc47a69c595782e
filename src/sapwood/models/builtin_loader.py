"""Loads the networks that come with Sapwood: ``builtin:digits``, a small yolov4-tiny that reads handwritten digits.

``builtin:digits-half`` is the same with half of the channels and 65 % zeros in what stays, pruned, masked and trained
as its ``.train.yaml`` says.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

from sapwood.errors import SpecError
from sapwood.meant import meant_name
from sapwood.models.spec import LOADERS, Loader, State
from sapwood.types import ModelBundle, ModelSource

PREFIX = "builtin:"

DIGITS = tuple("0123456789")

NETWORKS = {
    "digits": ("yolov4-tiny-digits", DIGITS),
    "digits-half": ("yolov4-tiny-digits-half", DIGITS),
}
"""Name -> stem of the files in ``models/zoo``, class names."""


def builtin_file(name: str, suffix: str) -> Path:
    """Returns the path of a file of a built-in network: its ``.cfg``, ``.weights`` or ``.train.yaml``.

    Raises:
        SpecError: If there is no such network.
    """
    if name not in NETWORKS:
        expected = f"expected one of: {', '.join(sorted(NETWORKS))}{meant_name(name, NETWORKS)}"
        raise SpecError(f"no built-in network {name!r}; {expected}")
    return Path(str(resources.files("sapwood.models") / "zoo" / f"{NETWORKS[name][0]}{suffix}"))


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    name = spec.removeprefix(PREFIX)
    cfg = str(builtin_file(name, ".cfg"))
    bundle = LOADERS["darknet"].load(cfg, builtin_file(name, ".weights") if weights is None else weights, names)
    class_names = NETWORKS[name][1] if names is None else bundle.task.class_names
    source = replace(bundle.source, spec=spec, kind="builtin", weights=None if weights is None else str(weights))
    return replace(bundle, task=replace(bundle.task, class_names=class_names), source=source)


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    return LOADERS["darknet"].rebuild(source, state)


LOADERS.register("builtin")(Loader("builtin:digits", lambda spec: spec.startswith(PREFIX), _load, _rebuild))
