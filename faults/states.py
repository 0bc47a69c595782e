"""What stands in a place: every file read back, without what two equal runs have of their own, such as times."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from children import FORK, SIGN

VOLATILE = frozenset(
    "date seconds eval_seconds resume images_per_second loader_wait_share latency engine conditions live_mask command "
    "result files saved report path drawn cfg weights options fingerprint peak_memory_bytes then".split()
)
"""Keys of records whose values are those of one run."""

State = dict[str, str]


def state_of(place: Path) -> State:
    """Every file at a place or below, with what it holds; a damaged one holds ``"damaged: ..."``."""
    if place.is_dir():
        files = [file for file in sorted(place.rglob("*")) if file.is_file() and SIGN not in str(file)]
        return {str(file.relative_to(place)): content(file) for file in files}
    return {file.name: content(file) for file in _with_companion(place) if file.is_file()}


def litter(folder: Path) -> list[str]:
    """What is left of temporary folders."""
    return [str(Path(root, name)) for root, names, _ in os.walk(folder) for name in names if SIGN in name]


def content(path: Path) -> str:
    """A short text that is the same for two files that mean the same."""
    try:
        return READERS.get(path.name, READERS.get(path.suffix, _digest))(path)
    except Exception as error:
        return f"damaged: {type(error).__name__}: {error}"


def _with_companion(path: Path) -> list[Path]:
    suffix = {".xml": ".bin", ".cfg": ".weights"}.get(path.suffix)
    return [path] if suffix is None else [path, path.with_suffix(suffix)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _json(path: Path) -> str:
    return _short(_stable(json.loads(path.read_text())))


def _lines(path: Path) -> str:
    return _short([_stable(json.loads(line)) for line in path.read_text().splitlines()])


def _page(path: Path) -> str:
    text = path.read_text().strip().lower()
    if not (text.startswith("<!doctype html") and text.endswith("</html>")):
        raise ValueError("not a whole page")
    return "page"


def _picture(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
    return _digest(path)


def _checkpoint(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        values = {name: file.get_tensor(name).tobytes() for name in sorted(file.keys())}
    return _short({name: hashlib.sha256(value).hexdigest() for name, value in values.items()})


def _in_a_process(run: Callable[[Path], np.ndarray]) -> Callable[[Path], str]:
    """Runs a network in a process of its own: a library's threads would not survive the next fork."""

    def read(path: Path) -> str:
        results = FORK.SimpleQueue()

        def work() -> None:
            try:
                results.put(_short(np.round(run(path).astype(np.float64), 3).tolist()))
            except Exception as error:
                results.put(f"damaged: {type(error).__name__}: {error}")

        process = FORK.Process(target=work)
        process.start()
        process.join()
        return "damaged: the process that loads it crashed" if process.exitcode else str(results.get())

    return read


def _ones(shape: Any) -> np.ndarray:
    return np.linspace(0.0, 1.0, int(np.prod(shape)), dtype=np.float32).reshape(tuple(shape))


def _run_onnx(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return np.concatenate([one.ravel() for one in session.run(None, {given.name: _ones(given.shape)})])


def _run_openvino(path: Path) -> np.ndarray:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([one.ravel() for one in compiled(_ones(compiled.inputs[0].shape)).values()])


def _run_torch(path: Path) -> np.ndarray:
    import torch

    program = torch.export.load(path)
    (given,) = program.example_inputs[0]
    outputs = program.module()(torch.from_numpy(_ones(given.shape)))
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return np.concatenate([one.detach().numpy().ravel() for one in outputs])


def _stable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _stable(one) for name, one in value.items() if name not in VOLATILE}
    return [_stable(one) for one in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


READERS: Mapping[str, Callable[[Path], str]] = {
    "page.html": lambda path: _page(path) + _digest(path),
    ".json": _json,
    ".jsonl": _lines,
    ".html": _page,
    ".jpg": _picture,
    ".safetensors": _checkpoint,
    ".onnx": _in_a_process(_run_onnx),
    ".xml": _in_a_process(_run_openvino),
    ".pt2": _in_a_process(_run_torch),
}
