"""A compiled network as two files: JSON for its nodes, safetensors for its weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from sapwood.errors import EngineError
from sapwood.files import check_directory, new_directory, write_bytes, write_text
from sapwood.reading import parse_json, read_bytes, read_json, reading
from sapwood.runtime.engine.decoding import decode
from sapwood.runtime.engine.encoding import Encoded
from sapwood.runtime.engine.form import stored
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.packing import Array

FORMAT = "sapwood-engine"
VERSION, ALONE = 2, 3
"""The versions that are written; the latter of networks that take one picture a call, which readers of the former would
give batches. Version 1 had the form of outputs as text of PyTorch's, and no types of inputs."""

READ = (1, 2, 3)
NETWORK_NAME = "network.json"
WEIGHTS_NAME = "weights.safetensors"
EXPECTED = "a network that `sapwood compile` wrote"


@dataclass(frozen=True)
class Files:
    """What the two files hold.

    Attributes:
        path: Of the network.
        version: Of its form.
        content: Nodes and what belongs to them.
        arrays: Weights.
        digest: Of both files: another one is another network.
    """

    path: Path
    version: int
    content: Any
    arrays: Mapping[str, Array]
    digest: str


def write(encoded: Encoded, directory: str | Path) -> Path:
    """Writes a directory, which takes the place of the network that was there; what else lies there stays.

    Raises:
        EngineError: If what the model returns, or an operation of PyTorch's, has no name outside of this process.
        ConfigError: If ``directory`` holds files, and no compiled network.
        WriteError: If a file cannot be written; what stood there is there still.
    """
    try:
        content = {
            **encoded.content,
            "form": stored(encoded.form),
            "constants": [[place, _constant(value)] for place, value in encoded.constants.items()],
        }
        text = json.dumps(content, allow_nan=False)
        version = ALONE if encoded.alone else VERSION
        decode(Path(directory), version, json.loads(text), encoded.arrays)  # what is written can be read
    except (EngineError, TypeError, ValueError) as error:
        raise EngineError(f"the compiled network cannot be saved: {error}") from error
    data = save_arrays(encoded.arrays)
    head = {"format": FORMAT, "version": version, "sha256": _digest(text, data), "content": text}
    with new_directory(directory, NETWORK_NAME, (WEIGHTS_NAME,)) as folder:
        write_bytes(folder / WEIGHTS_NAME, data)
        write_text(folder / NETWORK_NAME, json.dumps(head, indent=1) + "\n")
    return Path(directory)


def check_target(directory: str | Path) -> None:
    """Checks, before the work, that a network can be written to a directory; raises what :func:`write` would."""
    check_directory(directory, NETWORK_NAME)


def _constant(value: Any) -> Any:
    """What a model returns besides tensors, as JSON."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    raise EngineError(
        f"the model returns a {type(value).__name__}; expected tuples, lists and dicts of tensors and numbers"
    )


def read_files(directory: str | Path) -> Files:
    """Reads the two files, and checks that they belong together.

    Raises:
        EngineError: If a file is missing, damaged or of another version.
    """
    path = Path(directory) / NETWORK_NAME
    head = read_json(path, EXPECTED, EngineError)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise EngineError(f"{path}: not written by `sapwood compile`; expected {EXPECTED}")
    if head.get("version") not in READ or isinstance(head["version"], bool):
        raise EngineError(
            f"{path}: version {head.get('version')!r}; this Sapwood reads versions {READ[0]} to {READ[-1]}"
        )
    weights = Path(directory) / WEIGHTS_NAME
    data = read_bytes(weights, "its weights", EngineError)
    text, digest = head.get("content"), head.get("sha256")
    with reading(path, EXPECTED, EngineError):
        if not isinstance(text, str) or not isinstance(digest, str) or _digest(text, data) != digest:
            raise EngineError(f"{path}: damaged: the files are not those that were written together")
    content = parse_json(text, path, EXPECTED, EngineError)
    with reading(weights, "its weights", EngineError):
        return Files(path, head["version"], content, load_arrays(data), digest)


def read(directory: str | Path) -> tuple[Lowered, str]:
    """Reads what :func:`write` wrote, and its digest.

    Raises:
        EngineError: If a file is missing, damaged or of another version, or the network makes no sense.
    """
    files = read_files(directory)
    return decode(files.path, files.version, files.content, files.arrays), files.digest


def _digest(text: str, data: bytes) -> str:
    return hashlib.sha256(text.encode() + data).hexdigest()
