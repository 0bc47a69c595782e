"""Reading pictures, and bringing them to the size a network wants and boxes back from it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from sapwood.data.checks import PICTURE_FORMATS
from sapwood.data.pillow import open_picture
from sapwood.errors import ConfigError, ImageError, SapwoodError
from sapwood.foreign import foreign
from sapwood.limits import check_limit, limit, variable
from sapwood.reading import opened
from sapwood.types import Picture, Resize, TaskSpec

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_TILE_TAGS = (322, 323)
"""Tags of TIFF with the width and the height of a tile."""
FORMATS = tuple(dict.fromkeys(PICTURE_FORMATS.values()))
"""The formats of pictures, as Pillow names them."""
_GREY = 0.5
_YOLO_GREY = 114 / 255
"""What Ultralytics fills with."""
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in a network's input: ``input = picture * scale + offset``, per axis, in pixels.

    Attributes:
        scale: (x, y).
        offset: (x, y) of the picture's upper left corner in the input; negative where a crop cuts.
        picture_size: (height, width) of the original picture.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    picture_size: tuple[int, int]

    def to_picture(
        self,
        boxes: Tensor,  # shape: (..., 4)
        *,
        clipped: bool = True,
    ) -> Tensor:  # shape: (..., 4)
        """Maps boxes x1, y1, x2, y2 from input pixels to pixels of the original picture, clipped to it or not.

        Examples:
            >>> Placement((0.5, 0.5), (0.0, 25.0), (100, 200)).to_picture(torch.tensor([10.0, 35.0, 120.0, 45.0]))
            tensor([ 20.,  20., 200.,  40.])
        """
        scale, offset = boxes.new_tensor(self.scale * 2), boxes.new_tensor(self.offset * 2)
        found = (boxes - offset) / scale
        if not clipped:
            return found
        height, width = self.picture_size
        return torch.minimum(found.clamp(min=0), boxes.new_tensor((width, height, width, height)))

    def to_input(
        self,
        boxes: Tensor,  # shape: (..., 4)
    ) -> Tensor:  # shape: (..., 4)
        """Maps boxes x1, y1, x2, y2 from pixels of the original picture to input pixels, not clipped.

        Examples:
            >>> Placement((0.5, 0.5), (0.0, 25.0), (100, 200)).to_input(torch.tensor([20.0, 20.0, 200.0, 40.0]))
            tensor([ 10.,  35., 100.,  45.])
        """
        return boxes * boxes.new_tensor(self.scale * 2) + boxes.new_tensor(self.offset * 2)


def read_image(path: str | Path) -> Picture:
    """Reads a picture file as RGB.

    Grey, palette, CMYK and 16-bit pictures are converted; transparency is dropped; the orientation that a camera
    noted is applied, so that the picture is the one a person sees.

    Args:
        path: JPEG, PNG, BMP, WebP, TIFF or PPM, whatever the file is called.

    Returns:
        uint8, shape (height, width, 3).

    Raises:
        ImageError: If the file is missing, a directory, empty, broken, of another format, larger than the limit
            ``picture_pixels`` (see :mod:`sapwood.limits`), or holds numbers without a known range.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        return np.asarray(_upright(_to_rgb(image, path), orientation))


def picture_size(path: str | Path) -> tuple[int, int]:
    """Returns (height, width) of the picture that :func:`read_image` would return, from the file's header alone.

    Raises:
        ImageError: As :func:`read_image`, as far as a header shows it.
    """
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


def to_input(picture: Picture, task: TaskSpec) -> tuple[Tensor, Placement]:
    """Brings a picture to the input of a network.

    ``"stretch"`` resizes to the input size whatever the aspect; ``"letterbox"`` keeps the aspect, centres, and fills
    with grey 0.5; both take the four nearest pixels, as Darknet does; ``"stretch_smooth"`` takes all that shrink into
    one. ``"letterbox_yolo"`` is Ultralytics': it rounds
    sizes up and fills with grey 114. ``"center_crop"`` resizes the short side to ``1 / task.crop`` of the input's,
    smoothly, and cuts the middle out.

    Args:
        picture: uint8, shape (height, width, 3).
        task: ``input_size``, ``resize``, ``crop``, ``interpolation``, ``mean`` and ``std`` are used.

    Returns:
        float32, shape (3, H, W), and where the picture lies in it.

    Raises:
        ConfigError: If the task names no input size or an unknown way to resize.
        ImageError: If ``picture`` is not uint8 of shape (height, width, 3).
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ImageError(f"a picture is uint8 of shape (height, width, 3); got {picture.dtype} {picture.shape}")
    if min(task.input_size) < 1:
        raise ConfigError(f"the model's task gives no input size (got {task.input_size}); expected (height, width)")
    if task.resize == "stretch":
        values, placement = _stretch(picture, task.input_size)
    elif task.resize == "stretch_smooth":
        values, placement = _stretch(picture, task.input_size, task.interpolation)
    elif task.resize == "letterbox":
        values, placement = _letterbox(picture, task.input_size, round, _GREY, _resized)
    elif task.resize == "letterbox_yolo":
        values, placement = _letterbox(picture, task.input_size, math.ceil, _YOLO_GREY, _resized_as_opencv)
    elif task.resize == "center_crop":
        values, placement = _center_crop(picture, task)
    else:
        raise ConfigError(f"unknown resize {task.resize!r}; expected {', '.join(get_args(Resize))}")
    if task.mean != (0.0, 0.0, 0.0) or task.std != (1.0, 1.0, 1.0):
        values = (values - torch.tensor(task.mean).view(3, 1, 1)) / torch.tensor(task.std).view(3, 1, 1)
    return values, placement


def as_batch(picture: Picture) -> Tensor:  # shape: (1, 3, H, W)
    """Returns a picture as PyTorch's fastest kernels for uint8 want it: a batch with the channels last in memory."""
    return torch.from_numpy(np.require(picture, requirements=["C", "W"])[None]).permute(0, 3, 1, 2)


def _stretch(picture: Picture, size: tuple[int, int], interpolation: str | None = None) -> tuple[Tensor, Placement]:
    height, width = picture.shape[:2]
    placement = Placement((size[1] / width, size[0] / height), (0.0, 0.0), (height, width))
    return _resized(picture, size) if interpolation is None else _smoothed(picture, size, interpolation), placement


def _letterbox(
    picture: Picture,
    size: tuple[int, int],
    rounded: Callable[[float], int],
    grey: float,
    resized: Callable[[Picture, tuple[int, int]], Tensor],
) -> tuple[Tensor, Placement]:
    height, width = picture.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = (min(size[0], max(1, rounded(height * scale))), min(size[1], max(1, rounded(width * scale))))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    values = torch.full((3, *size), grey)
    values[:, top : top + inner[0], left : left + inner[1]] = resized(picture, inner)
    placement = Placement((inner[1] / width, inner[0] / height), (float(left), float(top)), (height, width))
    return values, placement


def _center_crop(picture: Picture, task: TaskSpec) -> tuple[Tensor, Placement]:
    size, (height, width) = task.input_size, picture.shape[:2]
    scale = max(size[0] / height, size[1] / width) / task.crop
    outer = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    top, left = (outer[0] - size[0]) // 2, (outer[1] - size[1]) // 2
    values = _smoothed(picture, outer, task.interpolation)[:, top : top + size[0], left : left + size[1]]
    placement = Placement((outer[1] / width, outer[0] / height), (float(-left), float(-top)), (height, width))
    return values.contiguous(), placement


def _resized(picture: Picture, size: tuple[int, int]) -> Tensor:
    """The picture at ``size``, bilinear between the four nearest pixels as in Darknet: float32, shape (3, *size)."""
    resized = functional.interpolate(as_batch(picture), size=size, mode="bilinear", align_corners=False)[0]
    return _to_unit(resized)


def _resized_as_opencv(picture: Picture, size: tuple[int, int]) -> Tensor:
    """The same, rounded to whole numbers once, as OpenCV does it, and not after rows and after columns."""
    resized = functional.interpolate(as_batch(picture).float(), size=size, mode="bilinear", align_corners=False)[0]
    return _to_unit((resized + 0.5).floor())


def _smoothed(picture: Picture, size: tuple[int, int], interpolation: str) -> Tensor:
    """The picture at ``size``, made of all the pixels that shrink into one: float32, shape (3, *size)."""
    resized = Image.fromarray(picture).resize((size[1], size[0]), _FILTERS[interpolation])
    return _to_unit(torch.from_numpy(np.array(resized)).permute(2, 0, 1))


def _to_unit(values: Tensor) -> Tensor:
    return values.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Opens a picture file and turns whatever goes wrong with it, then or in the block, into an :class:`ImageError`."""
    with opened(path, "a picture file", ImageError) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ImageError(f"{path}: is empty; expected a picture")
        _lift_pillows_limit()
        try:
            with open_picture(file, FORMATS) as image:
                check_limit("picture_pixels", _num_pixels(image), str(path), ImageError)
                yield image
        except (SapwoodError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            what = foreign(path) or "cannot be read as a picture"
            raise ImageError(f"{path}: {what}; expected one of {', '.join(FORMATS)}") from error
        except Exception as error:  # Pillow raises a dozen types for broken files, struct.error and KeyError among them
            raise ImageError(f"{path}: cannot be read as a picture ({error})") from error


def _num_pixels(image: Image.Image) -> int:
    """How many pixels decoding holds in memory: those of the picture, or of one tile where a TIFF has larger ones."""
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    tile = [tags.get(tag) for tag in _TILE_TAGS]
    return max(width * height, math.prod(side for side in tile if isinstance(side, int)))


def _lift_pillows_limit() -> None:
    """Lets Pillow's own limit, which is higher, give way where the environment asks for more."""
    if variable("picture_pixels") in os.environ and Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit("picture_pixels"))


def _orientation(image: Image.Image) -> int:
    """The Exif orientation, 1 (upright) where there is none or the Exif block is damaged."""
    if "exif" not in image.info:
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = image.getexif().get(_ORIENTATION_TAG, 1)
        except (OSError, ValueError, SyntaxError):
            return 1
    return value if value in _TURNS else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "F":
        raise ImageError(f"{path}: holds floating-point numbers without a known range; expected 8 or 16 bits a channel")
    if image.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(image, path).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _from_sixteen_bits(image: Image.Image, path: str | Path) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError(f"{path}: holds values {values.min()}..{values.max()}; expected at most 16 bits a channel")
    return Image.fromarray((values >> 8).astype(np.uint8))
