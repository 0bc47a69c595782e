"""What a stored result depends on, as a hash: the same hash, the same figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch

from sapwood.errors import ImageError
from sapwood.types import ClassificationSample, Dataset, DetectionSample, ModelBundle, Picture, TextSample


def model_fingerprint(bundle: ModelBundle) -> str:
    """Hashes a model for the store of finished cases: structure, code, weights, task, files, shapes of its inputs.

    The code is that of its modules' classes, without PyTorch's own.
    """
    digest = hashlib.sha256()
    digest.update(repr((bundle.model, bundle.task, sorted(bundle.source.files.items()))).encode())
    digest.update(repr(_shapes(bundle.example_inputs)).encode())
    for kind in dict.fromkeys(type(module) for module in bundle.model.modules()):
        digest.update(_code_of(kind).encode())
    for name, tensor in bundle.model.state_dict().items():
        if not isinstance(tensor, torch.Tensor):  # a module's extra state
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _code_of(kind: type) -> str:
    """What the methods of a class and of those that it comes from do, as text that is the same in every process."""
    own = [base for base in kind.__mro__ if base is not object and not base.__module__.startswith("torch.")]
    functions = [(name, value) for base in own for name, value in vars(base).items() if isinstance(value, FunctionType)]
    return repr([(name, _plain(function.__code__)) for name, function in functions])


def _plain(code: CodeType) -> Any:
    """Instructions, names and constants; no addresses, and no places in files."""
    return code.co_code.hex(), code.co_names, code.co_varnames, [_constant(one) for one in code.co_consts]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _plain(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)  # sets have no order


def data_fingerprint(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> str:
    """Hashes a data set: classes, annotations, and every picture's pixels or the reason it cannot be read."""
    digest = hashlib.sha256(repr((dataset.name, dataset.class_names, dataset.skipped)).encode())
    samples: Sequence[DetectionSample | ClassificationSample | TextSample] = dataset.samples
    for number, sample in enumerate(samples, start=1):
        digest.update(sample.image_id.encode())
        if isinstance(sample, DetectionSample):
            for array in (sample.boxes, sample.labels, sample.difficult):
                digest.update(array.tobytes())
            if sample.difficult.any() and not sample.crowd:
                digest.update(b"difficult")  # judged by a rule of their own
        else:
            digest.update(str(sample.label).encode())
        _update_with_content(digest, sample)
        if progress is not None:
            progress(number, len(samples))
    return digest.hexdigest()


def pictures_fingerprint(pictures: Mapping[str, Picture]) -> str:
    """Hashes named pictures."""
    digest = hashlib.sha256()
    for name, picture in pictures.items():
        digest.update(name.encode())
        _update_with_picture(digest, picture)
    return digest.hexdigest()


def file_fingerprint(path: str | Path) -> str:
    """Hashes a file's bytes, or those of every file in a folder; a missing one gives the empty text."""
    path = Path(path)
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.is_file())
        return key_of({one.name: file_fingerprint(one) for one in files})
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def key_of(parts: Mapping[str, Any]) -> str:
    """Returns a short name for a set of plain values: the start of their hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _update_with_picture(digest: Any, picture: Picture) -> None:
    digest.update(repr(picture.shape).encode())
    digest.update(picture.tobytes())


def _update_with_content(digest: Any, sample: DetectionSample | ClassificationSample | TextSample) -> None:
    if isinstance(sample, TextSample):
        for name, numbers in sample.load().inputs.items():
            digest.update(f"{name} {numbers.tolist()}".encode())
        return
    try:
        _update_with_picture(digest, sample.load())
    except ImageError as error:
        digest.update(str(error).encode())


def _shapes(value: Any) -> Any:
    """The shapes of every tensor in nested inputs."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return {key: _shapes(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_shapes(part) for part in value]
    return repr(value)
