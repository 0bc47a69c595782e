"""Loads the networks that come with Sapwood: ``builtin:digits``, a small yolov4-tiny that reads handwritten digits."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from sapwood.errors import SpecError
from sapwood.models.darknet import DarknetNetwork, parse_cfg, read_weights, write_cfg
from sapwood.models.darknet_loader import CFG_NAME, darknet_bundle
from sapwood.models.spec import LOADERS, Loader, State, read_names
from sapwood.types import ModelBundle, ModelSource

PREFIX = "builtin:"

NETWORKS = {"digits": ("yolov4-tiny-digits", tuple("0123456789"))}
"""Name -> stem of the files in ``models/zoo``, class names."""


def builtin_file(name: str, suffix: str) -> Path:
    """Returns the path of a file of a built-in network: its ``.cfg``, ``.weights`` or ``.train.yaml``.

    Raises:
        SpecError: If there is no such network.
    """
    if name not in NETWORKS:
        raise SpecError(f"no built-in network {name!r}; expected one of: {', '.join(sorted(NETWORKS))}")
    return Path(str(resources.files("sapwood.models") / "zoo" / f"{NETWORKS[name][0]}{suffix}"))


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    name = spec.removeprefix(PREFIX)
    cfg = parse_cfg(builtin_file(name, ".cfg"))
    network = DarknetNetwork(cfg, initialize=False)
    read_weights(builtin_file(name, ".weights") if weights is None else weights, network)
    class_names = NETWORKS[name][1] if names is None else read_names(names, len(NETWORKS[name][1]))
    source = ModelSource(spec, "builtin", None if weights is None else str(weights), {CFG_NAME: write_cfg(cfg)})
    return darknet_bundle(network, class_names, source)


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    return LOADERS["darknet"].rebuild(source, state)


LOADERS.register("builtin")(Loader("builtin:digits", lambda spec: spec.startswith(PREFIX), _load, _rebuild))
