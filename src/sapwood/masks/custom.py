"""Masks that somebody else chose, read from a file."""

from __future__ import annotations

import difflib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import prune

from sapwood.errors import MaskError
from sapwood.limits import check_limit
from sapwood.masks.case import METHODS, MaskMethod
from sapwood.masks.slots import Slot
from sapwood.reading import read_bytes, read_safetensors, reading

EXPECTED = "masks, .safetensors or .npz, one a parameter"


def read_masks(path: str | Path) -> dict[str, Tensor]:
    """Reads masks from a file; nothing in it is executed.

    Args:
        path: ``.safetensors`` or ``.npz``: the name of a parameter -> its mask, of any type whose values are 0 and 1.

    Returns:
        The masks as bool tensors, True = keep.

    Raises:
        MaskError: If the file cannot be read or a value is neither 0 nor 1.
    """
    path = Path(path)
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz}
    if path.suffix not in readers:
        raise MaskError(f"{path}: the suffix is {path.suffix!r}; expected a .safetensors or .npz file of masks")
    arrays = readers[path.suffix](path)
    with reading(path, EXPECTED, MaskError):
        return {name: _mask(values, f"{path}, {name}") for name, values in arrays.items()}


def _mask(values: Tensor, where: str) -> Tensor:
    strange = (values != 0) & (values != 1)
    if strange.any():
        example = values[strange][0].item()
        raise MaskError(f"{where}: {int(strange.sum())} values are not 0 or 1 (the first is {example})")
    return values != 0


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return read_safetensors(path, EXPECTED, MaskError)[0]


def _read_npz(path: Path) -> dict[str, Tensor]:
    data = io.BytesIO(read_bytes(path, EXPECTED, MaskError, limited_by="network_bytes"))
    with reading(path, EXPECTED, MaskError):
        if zipfile.is_zipfile(data):
            with zipfile.ZipFile(data) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            check_limit("network_bytes", unpacked, str(path), MaskError)
        data.seek(0)
        content = np.load(data, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise MaskError(f"{path}: holds a single array without a name; expected {EXPECTED}")
        arrays = {name: content[name] for name in content.files}
    for name, values in arrays.items():  # numpy gives the bytes of an entry that is no array
        came = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise MaskError(f"{path}, {name}: the values are {came}; expected bool or numbers, 0 and 1")
    return {name: torch.from_numpy(values.astype(np.float64)) for name, values in arrays.items()}


@METHODS.register("custom_from_mask")
class CustomFromMask(MaskMethod):
    """Applies the masks of ``case.mask_file``, which holds exactly one for each selected parameter."""

    from_file: ClassVar[bool] = True

    def mask_(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """Puts the masks of the file on.

        Raises:
            MaskError: If the file cannot be read, or its masks are not exactly those of ``slots``.
        """
        masks = read_masks(str(self.case.mask_file))
        self._check(masks, slots)
        for slot in slots:
            mask = masks[slot.name].to(device=slot.tensor.device)
            prune.custom_from_mask(slot.module, slot.parameter, mask)  # type: ignore[no-untyped-call]
        return ()

    def _check(self, masks: Mapping[str, Tensor], slots: Sequence[Slot]) -> None:
        """Refuses a file whose masks are not exactly those of the selected parameters."""
        where = self.case.mask_file
        names = [slot.name for slot in slots]
        expected = f"one for each of the {len(names)} that layers and pattern select"
        unknown = [name for name in masks if name not in names]
        if unknown:
            near = ", ".join(difflib.get_close_matches(unknown[0], names, n=3, cutoff=0.0))
            raise MaskError(
                f"{where}: {_counted(unknown, 'mask is', 'masks are')} for no selected parameter; expected {expected}; "
                f"nearest: {near}"
            )
        missing = [name for name in names if name not in masks]
        if missing:
            raise MaskError(
                f"{where}: {_counted(missing, 'parameter has', 'parameters have')} no mask; expected {expected} "
                "(a mask of ones removes nothing)"
            )
        for slot in slots:
            came, wanted = tuple(masks[slot.name].shape), tuple(slot.tensor.shape)
            if came != wanted:
                raise MaskError(f"{where}, {slot.name}: the mask's shape is {came}; expected {wanted}")


def _counted(names: Sequence[str], one: str, many: str) -> str:
    """``"1 mask is (a.weight)"``, ``"5 masks are (a.weight, b.weight, c.weight, ...)"``."""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} ({shown})"
