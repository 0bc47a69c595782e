"""Pictures of every kind become RGB uint8; broken ones are named; boxes survive the way to the input and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from sapwood.data import Placement, picture_size, read_image, to_input
from sapwood.errors import ConfigError, ImageError
from sapwood.types import Resize, TaskSpec

TASK = TaskSpec("detection", input_size=(64, 96))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 200, (200, 200, 200)),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 0), (90, 90, 90)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("I;16", 0x8040, (128, 128, 128)),
    ],
)
def test_modes_become_rgb(
    tmp_path: Path, mode: str, color: float | tuple[float, ...], expected: tuple[int, int, int]
) -> None:
    file = tmp_path / "picture.png"
    Image.new(mode, (7, 5), color).save(file)
    picture = read_image(file)
    assert picture.shape == (5, 7, 3)
    assert picture.dtype == np.uint8
    assert (picture == expected).all()


def test_palette_with_transparency(tmp_path: Path) -> None:
    file = tmp_path / "palette.png"
    Image.fromarray(np.full((4, 4, 3), (250, 0, 0), np.uint8)).quantize(4).save(file, transparency=bytes([0, 0]))
    assert (read_image(file) == (250, 0, 0)).all()


def test_cmyk(tmp_path: Path) -> None:
    file = tmp_path / "print.tif"
    Image.new("CMYK", (4, 4), (255, 0, 0, 0)).save(file)
    assert (read_image(file) == (0, 255, 255)).all()


def test_camera_orientation_is_applied_and_agrees_with_the_header(tmp_path: Path) -> None:
    file = tmp_path / "phone.png"
    pixels = noise(5, 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, exif=exif)
    assert picture_size(file) == (9, 5)
    np.testing.assert_array_equal(read_image(file), np.rot90(pixels, k=-1))


def test_floating_point_picture_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "depth.tif"
    Image.new("F", (4, 4), 0.5).save(file)
    with pytest.raises(ImageError, match=r"depth\.tif: holds floating-point numbers without a known range"):
        read_image(file)


def test_more_than_sixteen_bits_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.tif"
    Image.new("I", (4, 4), 70000).save(file)
    with pytest.raises(ImageError, match=r"deep\.tif: holds values 70000\.\.70000; expected at most 16 bits"):
        read_image(file)


@pytest.mark.parametrize("read", [read_image, picture_size])
def test_what_is_no_picture(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(ImageError, match=r"none\.jpg: no such file; expected a picture"):
        read(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match=r"is a directory; expected a picture file"):
        read(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg: is empty; expected a picture"):
        read(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"text\.jpg: cannot be read as a picture"):
        read(tmp_path / "text.jpg")


def test_truncated_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "half.jpg"
    Image.fromarray(noise(64, 64)).save(file)
    file.write_bytes(file.read_bytes()[:1500])
    assert picture_size(file) == (64, 64)
    with pytest.raises(ImageError, match=r"half\.jpg: cannot be read as a picture \(.*truncated"):
        read_image(file)


def test_stretch_is_bilinear_between_the_four_nearest_pixels() -> None:
    picture = np.zeros((1, 4, 3), np.uint8)
    picture[0, :, 0] = [0, 100, 200, 100]
    values, _ = to_input(picture, replace(TASK, input_size=(1, 2)))
    torch.testing.assert_close(values[0, 0] * 255, torch.tensor([50.0, 150.0]), atol=1e-4, rtol=0)
    assert (values[1:] == 0).all()


def test_stretch_agrees_with_float_interpolation() -> None:
    picture = noise(47, 31)
    values, _ = to_input(picture, TASK)
    exact = functional.interpolate(torch.from_numpy(picture).permute(2, 0, 1)[None].double(), (64, 96), mode="bilinear")
    assert values.shape == (3, 64, 96)
    assert values.is_contiguous()
    assert float((values * 255 - exact[0]).abs().max()) <= 1.0  # rounded to whole grey levels


def test_letterbox_keeps_the_aspect_and_fills_with_grey() -> None:
    values, placement = to_input(np.full((100, 100, 3), 255, np.uint8), replace(TASK, resize="letterbox"))
    assert placement == Placement((0.64, 0.64), (16.0, 0.0), (100, 100))
    assert (values[:, :, 16:80] == 1.0).all()
    assert (values[:, :, :16] == 0.5).all()
    assert (values[:, :, 80:] == 0.5).all()


def test_center_crop_cuts_the_middle() -> None:
    picture = np.zeros((256, 512, 3), np.uint8)
    picture[:, 256:] = 255
    values, placement = to_input(picture, TaskSpec("classification", (224, 224), resize="center_crop"))
    assert placement == Placement((1.0, 1.0), (-144.0, -16.0), (256, 512))
    assert (values[:, :, :112] == 0.0).all()
    assert (values[:, :, 112:] == 1.0).all()


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "center_crop"])
@pytest.mark.parametrize("size", [(37, 101), (480, 640), (640, 33)])
def test_boxes_go_to_the_input_and_back(resize: Resize, size: tuple[int, int]) -> None:
    _, placement = to_input(noise(*size), replace(TASK, resize=resize))
    height, width = size
    boxes = torch.tensor([[0.0, 0.0, width, height], [3.0, 7.0, width / 2, height / 3 + 8]], dtype=torch.float64)
    torch.testing.assert_close(placement.to_picture(placement.to_input(boxes)), boxes, atol=1e-9, rtol=0)


def test_boxes_are_clipped_to_the_picture() -> None:
    placement = Placement((0.5, 0.5), (0.0, 10.0), (80, 100))
    assert placement.to_picture(torch.tensor([[-5.0, 0.0, 90.0, 99.0]])).tolist() == [[0.0, 0.0, 100.0, 80.0]]


def test_mean_and_std() -> None:
    task = replace(TASK, mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 2.0))
    values, _ = to_input(np.full((8, 8, 3), 255, np.uint8), task)
    assert values[:, 0, 0].tolist() == [1.0, 1.0, 0.5]


def test_the_picture_is_left_as_it_is() -> None:
    picture = noise(20, 30)
    before = picture.copy()
    values, _ = to_input(picture, replace(TASK, input_size=(20, 30)))
    values.zero_()
    np.testing.assert_array_equal(picture, before)


def test_bad_arguments() -> None:
    with pytest.raises(ImageError, match=r"uint8 of shape \(height, width, 3\); got float64 \(4, 4, 3\)"):
        to_input(np.zeros((4, 4, 3)), TASK)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"got uint8 \(4, 4\)"):
        to_input(np.zeros((4, 4), np.uint8), TASK)
    with pytest.raises(ConfigError, match=r"gives no input size \(got \(0, 0\)\)"):
        to_input(noise(4, 4), TaskSpec("none"))
    with pytest.raises(ConfigError, match="unknown resize 'squash'; expected stretch, letterbox or center_crop"):
        to_input(noise(4, 4), replace(TASK, resize="squash"))  # type: ignore[arg-type]
