"""Reads texts: a file of lines, or of JSON lines with ``text``, a second text and ``label``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sapwood.data.checks import Findings, OnBad, check_same_classes, map_classes, whole
from sapwood.data.places import is_dir, is_file
from sapwood.errors import DataError, NoDataSetError
from sapwood.reading import read_text

JSON_LINES = (".jsonl", ".ndjson", ".json")
LINES = (".txt", ".text", ".md", ".rst")
SPLITS = {"val": ("val", "valid", "validation", "dev"), "test": ("test",), "train": ("train",)}
"""What a part of a data set may be called in a folder."""

FIELDS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("question", "context"),
    ("sentence", None),
)
"""Fields that hold a text, and the second one of a pair; the first that are all there count."""

EXPECTED = "a file of texts, one a line (.txt), or of JSON lines with text and, where there is one, label (.jsonl)"
LABEL = "label"
UNKNOWN = -1
"""The class of a text of which nothing is known."""


@dataclass(frozen=True)
class Text:
    """One text of a file.

    Attributes:
        name: The file and the line.
        text: The text.
        pair: The second text, where there are two.
        label: Its class: a number or a name; None where nobody said it.
    """

    name: str
    text: str
    pair: str | None = None
    label: int | str | None = None


@dataclass(frozen=True)
class Texts:
    """What was read, and what was left out of it under ``on_bad="skip"``."""

    name: str
    texts: tuple[Text, ...]
    skipped: tuple[str, ...] = ()


def read_texts(path: str | Path, *, split: str = "val", on_bad: OnBad = "error", by_line: bool = True) -> Texts:
    """Reads a file of texts, or that of a split in a folder.

    Args:
        path: A file, which is read whatever ``split`` says; or a folder with ``train.jsonl``, ``val.txt`` and the like.
        split: Which part, or several as ``"train+val"``.
        on_bad: What a line that is none does.
        by_line: Whether each line of a ``.txt`` is a text by itself; otherwise the file is one.

    Raises:
        DataError: If there is no such file, or no text in it.
    """
    root = Path(path)
    files = [root] if not is_dir(root) else [_of_split(root, part) for part in dict.fromkeys(split.split("+"))]
    findings = Findings(on_bad)
    texts: list[Text] = []
    for file in files:
        texts += _json_lines(file, findings) if file.suffix.lower() in JSON_LINES else _lines(file, by_line)
    if not texts:
        raise DataError(f"{path}: holds no texts; expected {EXPECTED}")
    return Texts(files[0].name if len(files) == 1 else f"{root.name} {split}", tuple(texts), tuple(findings.skipped))


def text_labels(texts: Texts, class_names: tuple[str, ...]) -> list[int]:
    """The class of each text, as the model counts; :data:`UNKNOWN` where the file says none.

    Numbers count as they stand. Names are those of the model's classes; where it has none of them, the sorted names are
    the classes 0, 1, ...

    Raises:
        DataError: If a class is none of the model's.

    Examples:
        >>> text_labels(Texts("", (Text("", "a", label="yes"), Text("", "b", label=0), Text("", "c"))), ("no", "yes"))
        [1, 0, -1]
    """
    names = sorted({text.label for text in texts.texts if isinstance(text.label, str)})
    check_same_classes(texts.name, names, class_names)
    classes = map_classes(names, class_names)
    label_of = dict(zip(names, classes.label_of, strict=True))
    labels = []
    for text in texts.texts:
        label = label_of[text.label] if isinstance(text.label, str) else text.label
        if text.label is not None and (label is None or not 0 <= label < len(class_names)):
            listed = ", ".join(class_names[:5]) + (", ..." if len(class_names) > 5 else "")
            raise DataError(
                f"{text.name}: label {text.label!r} is none of the {len(class_names)} classes of the model ({listed})"
            )
        labels.append(UNKNOWN if label is None else label)
    return labels


def _of_split(folder: Path, split: str) -> Path:
    names = SPLITS.get(split, (split,))
    found = [folder / f"{name}{suffix}" for name in names for suffix in (*JSON_LINES, *LINES)]
    for file in found:
        if is_file(file):
            return file
    raise NoDataSetError(f"{folder}: holds no {names[0]}.jsonl and no {names[0]}.txt; expected {EXPECTED}")


def _lines(file: Path, by_line: bool) -> list[Text]:
    content = read_text(file, EXPECTED, DataError)
    if not by_line:
        return [Text(str(file), content)] if content.strip() else []
    numbered = enumerate(content.split("\n"), start=1)
    return [Text(f"{file}:{number}", line.strip()) for number, line in numbered if line.strip()]


def _json_lines(file: Path, findings: Findings) -> Iterator[Text]:
    for number, line in enumerate(read_text(file, EXPECTED, DataError).split("\n"), start=1):
        if line.strip():
            try:
                yield _text(json.loads(line), f"{file}:{number}")
            except (ValueError, RecursionError) as error:
                findings.bad(f"{file}:{number}: is not JSON ({str(error)[:80]}); expected {EXPECTED}")
            except DataError as error:
                findings.bad(str(error))


def _text(content: Any, where: str) -> Text:
    """A line, checked."""
    if not isinstance(content, Mapping):
        raise DataError(f"{where}: is a {type(content).__name__}; expected an object with text")
    fields = next(
        (pair for pair in FIELDS if all(name in content for name in pair if name is not None)),
        ("text", None),
    )
    values: list[Any] = [content.get(name) for name in fields if name is not None]
    if not all(isinstance(value, str) for value in values):
        held = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise DataError(f"{where}: holds {held}; expected text, and text_pair for a pair, both as text")
    label = content.get(LABEL)
    number = whole(label)
    if label is not None and number is None and not isinstance(label, str):
        raise DataError(f"{where}: label is {label!r}; expected the number or the name of a class")
    return Text(where, values[0], values[1] if len(values) > 1 else None, label if isinstance(label, str) else number)
