"""Pictures of every kind become RGB uint8; broken ones are named; boxes survive the way to the input and back."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from sapwood.data import Placement, picture_size, read_image, to_input
from sapwood.data.checks import PICTURE_SUFFIXES
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
    (tmp_path / "lfs.jpg").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ImageError, match=r"lfs\.jpg: is a pointer of Git LFS .*; expected one of JPEG"):
        read(tmp_path / "lfs.jpg")


def test_a_function_that_others_put_in_pillows_place_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(*_: object, **__: object) -> None:
        raise AssertionError("Ultralytics' installs a package here")

    for name in ("a.png", "a.webp", "a.tiff", "a.ppm", "a.bmp", "a.jpg"):
        Image.fromarray(noise(8, 8)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    (tmp_path / "text.jpg").write_text("not a picture")
    monkeypatch.setattr(Image, "open", install)
    for name in ("a.png", "a.webp", "a.tiff", "a.ppm", "a.bmp", "a.jpg"):
        assert read_image(tmp_path / name).shape == (8, 8, 3)
    for name in ("broken.png", "text.jpg"):
        with pytest.raises(ImageError, match=r"cannot be read as a picture"):
            read_image(tmp_path / name)


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


def test_the_letterbox_of_ultralytics_rounds_up_and_has_a_grey_of_its_own() -> None:
    task = TaskSpec("detection", (64, 64), resize="letterbox_yolo")
    values, placement = to_input(np.full((100, 333, 3), 255, np.uint8), task)
    inside = (values == 1.0).all(dim=0)
    assert int(inside.any(dim=1).sum()) == 20  # ceil(64 * 100 / 333), where rounding gives 19
    assert placement.offset == (0.0, 22.0)
    assert values[:, 0, 0].tolist() == pytest.approx([114 / 255] * 3)


def test_what_a_crop_keeps_and_how_it_shrinks_is_said_by_the_task() -> None:
    picture = noise(60, 60)
    whole = TaskSpec("classification", (30, 30), resize="center_crop", crop=1.0)
    smooth = Image.fromarray(picture).resize((30, 30), Image.Resampling.BILINEAR)
    cubic = Image.fromarray(picture).resize((30, 30), Image.Resampling.BICUBIC)
    for task, wanted in ((whole, smooth), (replace(whole, interpolation="bicubic"), cubic)):
        values, placement = to_input(picture, task)
        assert np.array_equal((values * 255).round().numpy().transpose(1, 2, 0), np.asarray(wanted))
        assert placement.scale == (0.5, 0.5)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox_yolo", "center_crop"])
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
    with pytest.raises(ConfigError, match=r"unknown resize .squash.; expected stretch, .*, center_crop"):
        to_input(noise(4, 4), replace(TASK, resize="squash"))  # type: ignore[arg-type]


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds no pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [read_image, picture_size])
def test_size_is_limited_by_the_header_alone(tmp_path: Path, read: Callable[[Path], object]) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(png_header(8192, 8193))  # below Pillow's own limit
    message = r"large\.png: asks for 67,117,056 pixels of a picture.*; expected at most 67,108,864 \(SAPWOOD_MAX_PIC"
    with pytest.raises(ImageError, match=message):
        read(file)


def test_the_limit_can_be_raised_and_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "picture.png"
    Image.fromarray(noise(50, 101)).save(file)
    monkeypatch.setenv("SAPWOOD_MAX_PICTURE_PIXELS", "5049")
    with pytest.raises(ImageError, match=r"asks for 5,050 pixels .* expected at most 5,049"):
        read_image(file)
    monkeypatch.setenv("SAPWOOD_MAX_PICTURE_PIXELS", "5050")
    assert read_image(file).shape == (50, 101, 3)


def test_a_raised_limit_is_not_stopped_by_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(png_header(20000, 20000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with pytest.raises(ImageError, match=r"large\.png"):
        picture_size(file)
    monkeypatch.setenv("SAPWOOD_MAX_PICTURE_PIXELS", "400000000")
    assert picture_size(file) == (20000, 20000)


def test_a_lower_limit_of_pillows_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "picture.png"
    Image.fromarray(noise(50, 101)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"picture\.png: cannot be read as a picture \(Image size .* exceeds limit"):
        read_image(file)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_tiles_larger_than_the_picture_count(tmp_path: Path) -> None:
    file = tmp_path / "tiles.tif"
    values = {256: 9, 257: 5, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60000, 323: 60000, 324: 8, 325: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    file.write_bytes(struct.pack("<2sHIIH", b"II", 42, 12, 0, len(values)) + entries + bytes(4))
    with pytest.raises(ImageError, match=r"tiles\.tif: asks for 3,600,000,000 pixels"):
        read_image(file)


def test_every_suffix_stands_for_a_format_that_is_read(tmp_path: Path) -> None:
    for suffix in sorted(PICTURE_SUFFIXES):
        Image.fromarray(noise(5, 9)).convert("L").save(tmp_path / f"picture{suffix}")
        assert read_image(tmp_path / f"picture{suffix}").shape == (5, 9, 3), suffix


@pytest.mark.parametrize("name", ["GIF", "ICO", "TGA", "PCX", "SGI", "EPS", "PDF"])
def test_no_other_format_is_decoded(tmp_path: Path, name: str) -> None:
    Image.fromarray(noise(16, 16)).save(tmp_path / "picture.png", format=name)
    with pytest.raises(ImageError, match=r"picture\.png: cannot be read as a picture; expected one of JPEG, PNG, BMP"):
        read_image(tmp_path / "picture.png")


def test_a_format_is_found_whatever_the_suffix(tmp_path: Path) -> None:
    pixels = noise(5, 9)
    Image.fromarray(pixels).save(tmp_path / "picture.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "picture.jpg"), pixels)


def test_the_first_of_several_pictures_in_a_jpeg(tmp_path: Path) -> None:
    """Phones write such files, which Pillow calls MPO."""
    grey, white = Image.new("RGB", (9, 5), (90, 90, 90)), Image.new("RGB", (9, 5), (255, 255, 255))
    grey.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[white])
    assert (read_image(tmp_path / "phone.jpg") == 90).all()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_called_like_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match=r"pipe\.jpg: is a pipe, a socket or a device; expected a picture"):
        read_image(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "a\0.jpg"])
def test_names_that_no_system_takes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="expected a picture file"):
        read_image(tmp_path / name)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    with pytest.raises(ImageError, match=r"a\.jpg: cannot be read \(Too many levels of symbolic links\)"):
        read_image(tmp_path / "a.jpg")
