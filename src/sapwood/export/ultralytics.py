"""Writes a network of Ultralytics as a ``.pt`` that ``YOLO(...)`` takes, pruned or not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sapwood.errors import SpecError
from sapwood.export.base import EXPORTERS, Exported, ExportOptions, checked_path, explained
from sapwood.export.flat import plain_copy, tensors_of
from sapwood.export.numeric import FLOAT32_TOLERANCE, check_close, check_compared
from sapwood.files import new_files
from sapwood.models import UltralyticsNetwork, copy_model, read_ultralytics, write_ultralytics
from sapwood.types import ExampleInputs


def export_ultralytics(model: nn.Module, example_inputs: ExampleInputs, path: str | Path) -> Exported:
    """Writes a network as ``.pt``, reads it back as Ultralytics' own classes, runs it and compares.

    ``YOLO(path)`` predicts, validates and exports it as any other. Trained, it is with
    ``trainer=sapwood.models.ultralytics.keep_widths``: without, Ultralytics would build the dense network again from
    its ``.yaml``, and the one written here makes it stop with an error that says so.

    Args:
        model: An :class:`~sapwood.models.ultralytics.UltralyticsNetwork`. Read only; its live masks become zeros.
        example_inputs: A batch of pictures.
        path: Ends in ``.pt``.

    Returns:
        The file and the difference found.

    Raises:
        SpecError: If ``model`` is no network of Ultralytics.
        CheckFailedError: If the file, read back, gives other results.
        WriteError: If the file cannot be written.
    """
    path = checked_path(path, ".pt")
    if not isinstance(model, UltralyticsNetwork):
        raise SpecError(f"a {type(model).__name__} cannot be written as .pt; expected a network of Ultralytics")
    original = copy_model(model).cpu().float().eval()
    plain = plain_copy(original)
    assert isinstance(plain, UltralyticsNetwork)
    (pictures,) = tensors_of(example_inputs)
    pictures = pictures.detach().cpu().float()
    with new_files(path) as (written,):
        with explained(model, "a .pt"):
            write_ultralytics(written, plain.eval(), max(pictures.shape[-2:]))
        again = read_ultralytics(written)
        with torch.no_grad():
            found, wanted = tensors_of(again(pictures)), tensors_of(original(pictures))
        error = check_close(str(path), list(found), list(wanted), FLOAT32_TOLERANCE)
        check_compared(str(path), list(wanted))
    return Exported("ultralytics", (path,), error, FLOAT32_TOLERANCE)


class UltralyticsExporter:
    """``.pt``."""

    name = "ultralytics"
    suffix = ".pt"
    has_batch = False

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_ultralytics`."""
        del options
        return export_ultralytics(model, example_inputs, path)


EXPORTERS.register("ultralytics")(UltralyticsExporter())
