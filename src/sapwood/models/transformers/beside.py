"""The text files that a saved model keeps beside its tensors: configuration, tokenizer, how a picture is brought in."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sapwood.errors import SpecError
from sapwood.foreign import foreign
from sapwood.models.transformers.folder import refuse_code
from sapwood.models.transformers.package import quietly, transformers
from sapwood.reading import parse_json, read_text, reading
from sapwood.types import TaskSpec

CONFIG_NAME = "dense_config.json"
"""The configuration of the dense model: not ``config.json``, by which others would build a model of other widths."""

README_NAME = "README.md"
TOKENIZER_NAME, TOKENIZER_CONFIG_NAME = "tokenizer.json", "tokenizer_config.json"
PICTURES_NAME = "preprocessor_config.json"
OWN_FILES = (CONFIG_NAME, README_NAME, TOKENIZER_NAME, TOKENIZER_CONFIG_NAME, PICTURES_NAME)

TOKENIZERS = (
    TOKENIZER_NAME,
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files any of which a tokenizer can be read from."""

ANY_NUMBER = 10**9
"""What tokenizers say where they do not know is more."""

README = """\
# Written by Sapwood

A model of transformers, pruned: its layers have widths of their own. Load it by Sapwood:

    import sapwood
    model = sapwood.load("THIS_FOLDER")                  # returns logits
    model.network                                        # the model of transformers, pruned

`from_pretrained` of transformers does not load this folder, and what `save_pretrained` would write of the pruned model
loads nowhere: its shapes are not those that the configuration asks for (a RuntimeError, or fresh random tensors with
`ignore_mismatched_sizes=True`). Deploy it by `sapwood export THIS_FOLDER --format onnx`. Only where it was pruned with
`--as-config` the configuration can say the widths: `sapwood export THIS_FOLDER --format transformers` writes a folder
that `from_pretrained` loads.
"""


def files_beside(folder: Path, config: str) -> dict[str, str]:
    """The files, by name, that are kept of a folder.

    Raises:
        SpecError: If a file of the tokenizer or of the picture processor is damaged, or names code of its own.
    """
    found = {CONFIG_NAME: config, README_NAME: README, **_tokenizer(folder)}
    if (folder / PICTURES_NAME).is_file():
        found[PICTURES_NAME] = read_text(folder / PICTURES_NAME, "how pictures are brought in", SpecError)
    return found


def _tokenizer(folder: Path) -> dict[str, str]:
    """The tokenizer of a folder in its newest form, whatever form it has there; nothing where there is none."""
    there = [folder / name for name in TOKENIZERS if (folder / name).is_file()]
    if not there:
        return {}
    for file in there:
        what = foreign(file)
        if what:
            raise SpecError(f"{file}: {what}; expected a file of the tokenizer")
    settings = folder / TOKENIZER_CONFIG_NAME
    if settings.is_file():
        content = parse_json(read_text(settings, "settings of a tokenizer", SpecError), settings, "settings", SpecError)
        refuse_code(content if isinstance(content, dict) else {}, settings)
    with (
        reading(folder, "a tokenizer that transformers reads", SpecError),
        quietly(),
        tempfile.TemporaryDirectory() as to,
    ):
        tokenizer = transformers().AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        tokenizer.save_pretrained(to)
        names = (TOKENIZER_NAME, TOKENIZER_CONFIG_NAME)
        found = {name: (Path(to) / name).read_text("utf-8") for name in names if (Path(to) / name).is_file()}
    return found if TOKENIZER_NAME in found else {}


def text_settings(files: Mapping[str, str], where: str) -> dict[str, Any]:
    """What the configuration of a tokenizer says; nothing where there is none."""
    text = files.get(TOKENIZER_CONFIG_NAME)
    content: Any = {} if text is None else parse_json(text, f"{where}: {TOKENIZER_CONFIG_NAME}", "settings", SpecError)
    return content if isinstance(content, dict) else {}


def longest_text(files: Mapping[str, str], where: str) -> int | None:
    """How many tokens a tokenizer says that its model reads; None where it says none, or any number."""
    most = text_settings(files, where).get("model_max_length")
    return most if isinstance(most, int) and 0 < most < ANY_NUMBER else None


def picture_task(files: Mapping[str, str], size: tuple[int, int], class_names: tuple[str, ...], where: str) -> TaskSpec:
    """How the processor of a folder brings a picture to the size of the model.

    Args:
        files: Of the folder; without a processor's, values are brought to [-1, 1], as most models of vision want them.
        size: (height, width) of what the model reads.
        class_names: Of the model.
        where: Who asks, for messages.
    """
    text = files.get(PICTURES_NAME)
    content: Any = {} if text is None else parse_json(text, f"{where}: {PICTURES_NAME}", "settings", SpecError)
    if not isinstance(content, dict):
        raise SpecError(f"{where}: {PICTURES_NAME} holds a {type(content).__name__}; expected settings by name")
    mean, std = (_three(content, name, where) for name in ("image_mean", "image_std"))
    if not content.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic" if content.get("resample") == 3 else "bilinear"
    given = content.get("size")
    short = given.get("shortest_edge") if isinstance(given, dict) else None
    if short is None:
        return TaskSpec("classification", size, class_names, "stretch_smooth", mean, std, interpolation=interpolation)
    crop = min(size) / short if content.get("do_center_crop", True) else 1.0
    return TaskSpec(
        "classification", size, class_names, "center_crop", mean, std, crop=min(crop, 1.0), interpolation=interpolation
    )


def _three(content: Mapping[str, Any], name: str, where: str) -> tuple[float, float, float]:
    value = content.get(name) or (0.5, 0.5, 0.5)
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 3
        or not all(isinstance(one, (int, float)) for one in value)
    ):
        raise SpecError(f"{where}: {PICTURES_NAME}: {name} is {value!r}; expected three numbers")
    return float(value[0]), float(value[1]), float(value[2])
