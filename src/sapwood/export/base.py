"""The contract of an exporter: a model and its inputs in, files that were read back, run and compared out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from sapwood.arguments import check_path
from sapwood.errors import ConfigError, ExportError, SapwoodError
from sapwood.files import check_file
from sapwood.registry import Registry
from sapwood.types import ExampleInputs, TaskSpec


@dataclass(frozen=True)
class ExportOptions:
    """What may differ between two files of one model.

    Attributes:
        dynamic_batch: The file runs with any batch size, not only with that of the example inputs.
        opset: Of ONNX; the exporter's own choice where None.
        spec: What the dense model was loaded by, for files that have it built by name.
        task: What the model is for: class names, anchors, normalisation and so on, which ONNX and OpenVINO files keep.
    """

    dynamic_batch: bool = False
    opset: int | None = None
    spec: str = ""
    task: TaskSpec | None = None


@dataclass(frozen=True)
class Exported:
    """What was written, and how well it was read back.

    Attributes:
        format: The exporter's name.
        files: What was written, the file to open first.
        max_relative_error: The largest difference from the PyTorch model over its largest output, in float32, over all
            inputs that were tried.
        tolerance: The most it may be.
        inputs: Names of the inputs, in the order of the tensors among the example inputs; empty where it has no names.
        outputs: Names of the outputs, likewise.
        details: What else there is to say, as the ``opset``.
    """

    format: str
    files: tuple[Path, ...]
    max_relative_error: float
    tolerance: float
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.stat().st_size for file in self.files)


class Exporter(Protocol):
    """Writes models in one format."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def suffix(self) -> str:
        """How the name of its file ends; empty where it writes a folder."""

    @property
    def has_batch(self) -> bool:
        """Whether the file says with which batch sizes it runs."""

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Writes a model, reads it back, runs it and compares; see :func:`sapwood.export.export_onnx`."""


EXPORTERS: Registry[Exporter] = Registry(
    "format",
    entry_points="sapwood.exporters",
    others={
        "cfg": "darknet", "huggingface": "transformers", "onnxruntime": "onnx", "ort": "onnx", "pt2": "torch-export",
        "py": "python", "pytorch": "torch-export", "torch": "torch-export", "torchscript": "torch-export",
        "weights": "darknet", "yolo": "ultralytics",
    },
)  # fmt: skip
"""The exporters by name; a file of this folder registers each."""


def format_of(path: str | Path) -> str:
    """Returns the format of a file by how its name ends.

    Raises:
        ConfigError: If files of no format end so.

    Examples:
        >>> format_of("net.onnx")
        'onnx'
    """
    suffix = Path(path).suffix
    found = next((name for name in EXPORTERS if suffix and EXPORTERS[name].suffix == suffix), None)
    if found is None:
        endings = ", ".join(f"{EXPORTERS[name].suffix} ({name})" for name in EXPORTERS if EXPORTERS[name].suffix)
        raise ConfigError(f"{path}: no format is known by its end; expected --format, or one of: {endings}")
    return found


def checked_path(path: str | Path, suffix: str) -> Path:
    """Returns the path, before the work.

    Raises:
        ConfigError: If its name does not end as programs expect of the format, or a directory stands there.
        WriteError: If nothing can be written there.

    Examples:
        >>> checked_path("net.onnx", ".onnx").name
        'net.onnx'
        >>> checked_path("net.pt", ".onnx")
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: cannot write net.pt; expected a name that ends in .onnx
    """
    check_path(path)
    path = Path(path)
    if path.suffix != suffix:
        raise ConfigError(f"cannot write {path}; expected a name that ends in {suffix}")
    check_file(path)
    return path


@contextmanager
def explained(model: nn.Module, what: str) -> Iterator[None]:
    """Whatever an exporter raises inside becomes an :class:`ExportError` of one line that names model and format."""
    try:
        yield
    except SapwoodError:
        raise
    except Exception as error:
        raise ExportError(f"{type(model).__name__} cannot be converted to {what}: {innermost(error)}") from error


def innermost(error: BaseException) -> str:
    """Class and first line of the first of a chain of errors, which is the one that says what is wrong."""
    seen = {id(error)}
    while (before := error.__cause__ or error.__context__) is not None and id(before) not in seen:
        seen.add(id(before))
        error = before
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
