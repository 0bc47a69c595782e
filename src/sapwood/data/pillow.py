"""Opening a picture by Pillow's decoders, whoever has replaced ``PIL.Image.open``."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import IO

from PIL import Image, UnidentifiedImageError

_PREFIX = 16
_NOT_OF_IT = (SyntaxError, IndexError, TypeError, struct.error)
"""What a decoder raises of a file that only looked like one of its own, as Pillow has it."""


def open_picture(file: IO[bytes], formats: Sequence[str]) -> Image.Image:
    """Opens a picture as Pillow's own ``Image.open`` does.

    Ultralytics (8.4.190) puts another function in its place, which installs a package with pip where no decoder knows
    the file, so that a broken picture would start a program and open a connection.

    Args:
        file: Open for reading, at any position.
        formats: The names of the decoders that may be taken, as Pillow has them, in this order.

    Raises:
        UnidentifiedImageError: If none of them knows the file.
        DecompressionBombError: If it is larger than Pillow's limit.
    """
    file.seek(0)
    prefix = file.read(_PREFIX)
    for load_decoders in (Image.preinit, Image.init):
        load_decoders()
        for name in formats:
            image = _opened_as(name, file, prefix)
            if image is not None:
                return image
    raise UnidentifiedImageError("cannot identify image file")


def _opened_as(name: str, file: IO[bytes], prefix: bytes) -> Image.Image | None:
    factory, accept = Image.OPEN.get(name, (None, None))
    if factory is None:
        return None
    try:
        accepted = accept(prefix) if accept is not None else True
        if not accepted or isinstance(accepted, str):  # a text says why not
            return None
        file.seek(0)
        image: Image.Image = factory(file, "")
    except _NOT_OF_IT:
        return None
    Image._decompression_bomb_check(image.size)
    return image
