"""Data sets and pictures."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
from mutations import of_json, of_png, of_text
from PIL import Image

from sapwood.data import open_detection
from sapwood.data.checks import OnBad
from sapwood.data.images import picture_size, read_image
from sapwood.errors import SapwoodError
from targets.target import Prepared, target


def picture(path: Path, side: int = 16) -> Path:
    """Writes a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)
    Image.fromarray(pixels).save(path)
    return path


def all_of(path: Path) -> None:
    """Opens a data set in both ways of meeting what is bad, and reads its first pictures."""

    def open_all(on_bad: OnBad) -> None:
        for sample in open_detection(path, on_bad=on_bad).samples[:2]:
            sample.load()

    with contextlib.suppress(SapwoodError):
        open_all("skip")
    open_all("error")


@target(of_text)
def data_yaml(folder: Path) -> Prepared:
    picture(folder / "images" / "val" / "a.png")
    (folder / "labels" / "val").mkdir(parents=True)
    (folder / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    seeds = [
        b"path: .\ntrain: images/val\nval: images/val\nnames: [cat, dog]\n",
        b"val: [images/val]\nnc: 2\nnames: {0: a, 1: b}\n",
    ]
    return seeds, lambda data: ((folder / "data.yaml").write_bytes(data), all_of(folder / "data.yaml"))


@target(of_text)
def yolo_labels(folder: Path) -> Prepared:
    picture(folder / "images" / "val" / "a.png")
    file = folder / "labels" / "val" / "a.txt"
    file.parent.mkdir(parents=True)
    return [b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n"], lambda data: (file.write_bytes(data), all_of(folder))


@target(of_text)
def picture_list(folder: Path) -> Prepared:
    picture(folder / "images" / "a.png")
    picture(folder / "images" / "b.png")
    (folder / "labels").mkdir()
    for name in "ab":
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "my.data").write_text("classes = 1\nvalid = val.txt\nnames = my.names\n")
    (folder / "my.names").write_text("cat\n")
    return [b"images/a.png\nimages/b.png\n"], lambda data: (
        (folder / "val.txt").write_bytes(data),
        all_of(folder / "my.data"),
    )


@target(of_text)
def darknet_data(folder: Path) -> Prepared:
    picture(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "val.txt").write_text("images/a.png\n")
    (folder / "my.names").write_text("cat\n")
    seeds = [b"classes = 1\ntrain = val.txt\nvalid = val.txt\nnames = my.names\nbackup = b # x\n"]
    return seeds, lambda data: ((folder / "my.data").write_bytes(data), all_of(folder / "my.data"))


@target(of_json)
def coco_json(folder: Path) -> Prepared:
    picture(folder / "a.png")
    record = {
        "images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 16}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3.5, 4], "iscrowd": 0, "area": 14.0},
            {"id": 2, "image_id": 1, "category_id": 4, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    file = folder / "instances_val.json"
    return [json.dumps(record).encode()], lambda data: (file.write_bytes(data), all_of(file))


@target(of_text)
def voc_xml(folder: Path) -> Prepared:
    picture(folder / "JPEGImages" / "a.jpg")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (folder / "Annotations").mkdir()
    seed = (
        b"<annotation><filename>a.jpg</filename><size><width>16</width><height>16</height><depth>3</depth></size>"
        b"<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>"
        b"<ymax>8</ymax></bndbox></object><object><name>dog</name><difficult>1</difficult><bndbox><xmin>1.5</xmin>"
        b"<ymin>2</ymin><xmax>12</xmax><ymax>13</ymax></bndbox></object></annotation>"
    )
    file = folder / "Annotations" / "a.xml"
    return [seed, seed.replace(b"><", b">\n<")], lambda data: (file.write_bytes(data), all_of(folder))


@target(of_text)
def voc_split(folder: Path) -> Prepared:
    picture(folder / "JPEGImages" / "a.jpg")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(
        "<annotation><size><width>16</width><height>16</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
        "<ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
    )
    file = folder / "ImageSets" / "Main" / "val.txt"
    file.parent.mkdir(parents=True)
    return [b"a\n", b"a 1\nb -1\n"], lambda data: (file.write_bytes(data), all_of(folder))


@target(of_png)
def picture_file(folder: Path) -> Prepared:
    suffixes = ("png", "jpg", "bmp", "webp", "tif", "ppm")
    seeds = [picture(folder / f"seed.{suffix}").read_bytes() for suffix in suffixes]
    gray = Image.new("LA", (9, 5))
    gray.save(folder / "gray.png")
    seeds.append((folder / "gray.png").read_bytes())
    file = folder / "a.png"
    return seeds, lambda data: (file.write_bytes(data), picture_size(file), read_image(file))
