"""What a verb ends with: the commands that come next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapwood.cli.volume import is_quiet

if TYPE_CHECKING:
    from sapwood.types import ModelBundle, ModelSource


def next_step(*commands: str, because: str = "") -> None:
    """Prints what to do next, after the result; nothing with ``--quiet``.

    Args:
        commands: What may be typed next, the likeliest first.
        because: A sentence before them: what the result does not tell.
    """
    if is_quiet():
        return
    if because:
        print(because)
    first, *others = commands
    print(f"next: {first}")
    for command in others:
        print(f"  or: {command}")


def measured_by(bundle: ModelBundle, model: str, saved: Sequence[str], data: object) -> tuple[str, ...]:
    """The command that measures the accuracy of what was made of a model; none where the model has no task.

    Args:
        bundle: The model.
        model: How it was named.
        saved: The words that name what was made of it.
        data: Pictures that were given, or None: without labels, the model itself is what the other is compared with.
    """
    from sapwood.tasks import can_measure

    if bundle.task.kind == "none":
        return ()
    given = words("sapwood", "eval", *saved, "--data", data_word(bundle.source, data))
    if data is None or can_measure(bundle, str(data)):
        return (given,)
    weights = ("--against-weights", bundle.source.weights) if bundle.source.spec == model else ()
    return (f"{given} {words('--against', model, *(weights if bundle.source.weights else ()))}",)


def after_measuring(model: str, bundle: ModelBundle, data: str, against: str | None = None) -> tuple[str, ...]:
    """What may come behind an accuracy: a pruned network is timed and given away, any other is pruned.

    Args:
        model: How it was named.
        bundle: It.
        data: The pictures that it was measured on.
        against: The network that it was compared with, which is timed beside it where it was made from that one.
    """
    named = model_words(model, bundle.source)
    if not bundle.source.plans:
        how = ("--macs", "0.5", "--data", data, "--recover", "reconstruct", "-o", apart_from(model, "small"))
        return (words("sapwood", "prune", *named, *how),)
    timed = named if against != bundle.source.spec else both_words(against, model, bundle.source)
    return (
        words("sapwood", "bench", *timed, "--runtime", "torch,onnxruntime"),
        words("sapwood", "export", *named, "--format", "onnx", "-o", "model.onnx"),
        *(given_back(bundle.source, named, {}) if bundle.source.spec != model else ()),  # else it is such a file
    )


def given_back(source: ModelSource, saved: Sequence[str], options: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that makes a file of the framework that a model came from; none where that has no format for it.

    Args:
        source: Of the model.
        saved: The words that name what was made of it.
        options: Of the command that made it: a transformers folder is of widths that its config says.

    Examples:
        >>> from sapwood.types import ModelSource
        >>> given_back(ModelSource("yolo11n.pt", "ultralytics"), ["small"], {})
        ('sapwood export small --format ultralytics -o small.pt',)
        >>> given_back(ModelSource("transformers:vit", "transformers"), ["small"], {"as_config": True})
        ('sapwood export small --format transformers -o small-folder',)
        >>> given_back(ModelSource("transformers:vit", "transformers"), ["small"], {})
        ()
        >>> given_back(ModelSource("timm:resnet18", "timm"), ["small"], {})
        ('sapwood export small --format python -o small.py',)
    """
    forms = {"ultralytics": ("ultralytics", ".pt"), "timm": ("python", ".py"), "torchvision": ("python", ".py")}
    if options.get("as_config"):
        forms["transformers"] = ("transformers", "-folder")
    if source.kind not in forms:
        return ()
    name, end = forms[source.kind]
    place = Path(f"{saved[0]}{end}")
    if name == "python":  # which is imported by its name
        place = place.with_name(re.sub(r"[^\w.]", "_", place.name))
    return (words("sapwood", "export", *saved, "--format", name, "-o", place),)


def taken_by(file_format: str, out: Path) -> tuple[str, ...]:
    r"""The command by which a framework goes on with a file that was made for it; none where that is for the user.

    Examples:
        >>> taken_by("transformers", Path("folder"))
        ('python -c "from transformers import AutoModel; AutoModel.from_pretrained(\'folder\')"',)
        >>> taken_by("onnx", Path("small.onnx"))
        ()
    """
    code = {
        "ultralytics": "from ultralytics import YOLO; from sapwood.models.ultralytics import keep_widths; "
        f"YOLO({str(out)!r}).train(data='DATA.yaml', epochs=20, trainer=keep_widths)",
        "transformers": f"from transformers import AutoModel; AutoModel.from_pretrained({str(out)!r})",
    }
    steers = set(repr(str(out))) & set('"$`\\!')  # would end the text, or be the shell's
    return (f'python -c "{code[file_format]}"',) if file_format in code and not steers else ()


def data_word(source: ModelSource, data: object = None) -> str:
    """The pictures that were given; else those that come with a network of Sapwood's, or what stands for them.

    Examples:
        >>> from sapwood.types import ModelSource
        >>> data_word(ModelSource("net.cfg", "darknet")), data_word(ModelSource("builtin:digits", "builtin"))
        ('DIR', 'digits')
    """
    if data is not None:
        return str(data)
    return "digits" if source.kind == "builtin" else "DIR"


def apart_from(model: str, place: str) -> str:
    """A name for what is made of a model: not the model's own, which would be replaced.

    Examples:
        >>> apart_from("net.cfg", "small"), apart_from("./small", "small")
        ('small', 'small-2')
    """
    return f"{place}-2" if Path(model) == Path(place) else place


def without_task(bundle: ModelBundle) -> str:
    """Why no command measures accuracy, of a model without a task; empty for all others."""
    if bundle.task.kind != "none":
        return ""
    return (
        f"No command measures its accuracy: {bundle.source.spec} has no task; a factory says what its model is for by "
        "returning a ModelBundle (docs/models.md)."
    )


def browse(page: Path) -> str:
    """The command that shows a page, wherever there is a Python.

    Examples:
        >>> browse(Path("/tmp/my report.html"))
        'python -m webbrowser -t file:///tmp/my%20report.html'
    """
    return words("python", "-m", "webbrowser", "-t", page.resolve().as_uri())


def words(*parts: object) -> str:
    """A command of which every part is one word of the shell.

    Examples:
        >>> words("sapwood", "eval", "my net")
        "sapwood eval 'my net'"
    """
    return shlex.join(map(str, parts))


def model_words(model: str, source: ModelSource) -> tuple[str, ...]:
    """A model as it was named, with what was given beside it: its weights, or the function that makes it.

    Examples:
        >>> from sapwood.types import ModelSource
        >>> model_words("net.cfg", ModelSource("net.cfg", "darknet", "net.weights"))
        ('net.cfg', '--weights', 'net.weights')
        >>> model_words("small", ModelSource("net.cfg", "darknet", "net.weights"))
        ('small',)
        >>> model_words("small", ModelSource("mynet:net", "factory"))
        ('small', '--model-factory', 'mynet:net')
    """
    if source.spec == model:
        return (model, "--weights", source.weights) if source.weights else (model,)
    return (model, "--model-factory", source.spec) if source.kind == "factory" else (model,)


def both_words(dense: str, small: str, source: ModelSource) -> tuple[str, ...]:
    """Two models of `sapwood bench`: one as it was named, and the saved one that was made of it.

    Examples:
        >>> from sapwood.types import ModelSource
        >>> both_words("net.cfg", "small", ModelSource("net.cfg", "darknet", "net.weights"))
        ('net.cfg', 'small', '--weights', 'net.weights')
        >>> both_words("mynet:net", "small", ModelSource("mynet:net", "factory"))
        ('mynet:net', 'small', '--model-factory', 'mynet:net')
    """
    given = dict.fromkeys((*model_words(dense, source)[1:], *model_words(small, source)[1:]))
    return (dense, small, *given)
