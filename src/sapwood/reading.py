"""The one way to read a file: whatever is wrong with it is an error of Sapwood's that names the file and the place.

Nothing that is read is executed: text, JSON and YAML become numbers, texts, lists and mappings, and tensors come out of
safetensors or, in :mod:`sapwood.pickled`, out of ``torch.load`` with ``weights_only``.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from unicodedata import category

import yaml

from sapwood.errors import SapwoodError
from sapwood.foreign import foreign, stands_for_another
from sapwood.limits import check_limit
from sapwood.meant import meant_path

if TYPE_CHECKING:
    from torch import Tensor

MAX_DIGITS = 18
"""Digits of whole numbers in files, at most; any more are no count of anything."""

_SHOWN = 200
_BEGINS = 512
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, 80, 40, 80


@contextmanager
def reading(where: str | Path, expected: str, error: type[SapwoodError]) -> Iterator[None]:
    """Turns whatever a parser raises inside the block into an ``error`` about the file or place ``where``.

    Parsers of damaged input raise nearly every exception that there is; what is one of Sapwood's own errors already
    passes through, as do interruptions.

    Args:
        where: The file, or ``file:line``.
        expected: What should have been there, for the message.
        error: What is raised.

    Raises:
        SapwoodError: An ``error``.

    Examples:
        >>> with reading("net.json", "a network", SapwoodError):
        ...     {}["nodes"]
        Traceback (most recent call last):
        ...
        sapwood.errors.SapwoodError: net.json: is damaged, or something else (KeyError: 'nodes'); expected a network
    """
    try:
        yield
    except SapwoodError:
        raise
    except Exception as cause:
        meant = meant_path(where) if isinstance(cause, FileNotFoundError) else ""
        what = "" if isinstance(cause, OSError | MemoryError) else foreign(where)
        raise error(f"{where}: {what or _fault(cause)}; expected {expected}{meant}") from cause


@contextmanager
def opened(path: str | Path, expected: str, error: type[SapwoodError]) -> Iterator[BinaryIO]:
    """Opens a file for reading; what goes wrong with it, then or in the block, is an ``error`` that names it.

    Args:
        path: A regular file: a pipe or a device, which may never end, is refused.
        expected: What should be there, for messages.
        error: What is raised.

    Raises:
        SapwoodError: An ``error``, if the file is missing, something else than a file, or unreadable.
    """
    with reading(path, expected, error), open(path, "rb", opener=_without_waiting) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise error(f"{path}: is {_kind(mode)}; expected {expected}")
        yield file


@contextmanager
def naming(where: str | Path) -> Iterator[None]:
    """Puts the file ``where`` before the text of an error of Sapwood's that does not name it.

    Examples:
        >>> with naming("recipe.yaml"):
        ...     raise SapwoodError("step 1: unknown verb")
        Traceback (most recent call last):
        ...
        sapwood.errors.SapwoodError: recipe.yaml: step 1: unknown verb
    """
    try:
        yield
    except SapwoodError as error:
        if str(where) not in str(error):
            error.args = (f"{where}: {error}", *error.args[1:])
        raise


def read_bytes(path: str | Path, expected: str, error: type[SapwoodError], *, limited_by: str | None = None) -> bytes:
    """Reads a file whole.

    Args:
        path: A regular file.
        expected: What should be there, for messages.
        error: What is raised.
        limited_by: The name of the limit on its size, if it has one.

    Raises:
        SapwoodError: An ``error``, as for :func:`opened`, or if the file is too large.
    """
    with opened(path, expected, error) as file:
        if limited_by is not None:
            check_limit(limited_by, os.fstat(file.fileno()).st_size, str(path), error)
        data = file.read()
    what = stands_for_another(data[:_BEGINS])
    if what:
        raise error(f"{path}: {what}; expected {expected}")
    return data


def read_text(path: str | Path, expected: str, error: type[SapwoodError], *, limited_by: str = "text_bytes") -> str:
    """Reads a UTF-8 text file; a byte order mark is dropped, and every kind of line end becomes ``\\n``.

    Raises:
        SapwoodError: An ``error``, as for :func:`read_bytes`, or if it is not UTF-8.
    """
    data = read_bytes(path, expected, error, limited_by=limited_by)
    with reading(path, expected, error):
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path, expected: str, error: type[SapwoodError]) -> Any:
    """Reads a JSON file.

    Raises:
        SapwoodError: An ``error``, as for :func:`read_text`, or if it is not JSON.
    """
    return parse_json(read_text(path, expected, error), path, expected, error)


def parse_json(text: str, where: str | Path, expected: str, error: type[SapwoodError]) -> Any:
    """Reads JSON text that came from ``where``.

    Raises:
        SapwoodError: An ``error`` with the line, if it is not JSON.

    Examples:
        >>> parse_json("[1, 2", "a.json", "a list", SapwoodError)
        Traceback (most recent call last):
        ...
        sapwood.errors.SapwoodError: a.json:1: is not JSON (Expecting ',' delimiter); expected a list
    """
    with reading(where, expected, error):
        try:
            return json.loads(text)
        except json.JSONDecodeError as fault:
            what = foreign(where)
            place = f"{where}: {what}" if what else f"{where}:{fault.lineno}: is not JSON ({fault.msg})"
            raise error(f"{place}; expected {expected}") from fault


@dataclass(frozen=True)
class YamlText:
    """What a YAML text holds.

    Attributes:
        value: Numbers, texts, lists and mappings; None for an empty text.
        lines: The line that each entry of a list at the top starts at; empty for anything else.
    """

    value: Any
    lines: tuple[int, ...]


def read_yaml(path: str | Path, expected: str, error: type[SapwoodError]) -> YamlText:
    """Reads a YAML file.

    Raises:
        SapwoodError: An ``error``, as for :func:`read_text` and :func:`parse_yaml`.
    """
    return parse_yaml(read_text(path, expected, error, limited_by="yaml_bytes"), path, expected, error)


def parse_yaml(text: str, where: str | Path, expected: str, error: type[SapwoodError]) -> YamlText:
    """Reads YAML text that came from ``where``.

    Aliases count for what they stand for, so that a few of them inside each other cannot become more than memory holds.

    Raises:
        SapwoodError: An ``error``, if it is not YAML, too large, holds itself, or says a key twice.

    Examples:
        >>> parse_yaml("[1, {a: b}]", "a.yaml", "a list", SapwoodError)
        YamlText(value=[1, {'a': 'b'}], lines=(1, 1))
        >>> parse_yaml("epochs: 5\\nepochs: 6", "a.yaml", "options", SapwoodError)
        Traceback (most recent call last):
        ...
        sapwood.errors.SapwoodError: a.yaml:2: the key 'epochs' is there twice; expected options
    """
    with reading(where, expected, error):
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                return YamlText(None, ())
            check_limit("yaml_nodes", _num_nodes(node, {}, where, expected, error), str(where), error)
            value = loader.construct_document(node)
        except yaml.MarkedYAMLError as fault:
            mark = fault.problem_mark or fault.context_mark
            place = where if mark is None else f"{where}:{mark.line + 1}"
            raise error(f"{place}: is not YAML ({fault.problem or fault.context}); expected {expected}") from fault
        except yaml.YAMLError as fault:
            raise error(f"{where}: is not YAML ({_message(fault)}); expected {expected}") from fault
    is_list = isinstance(node, yaml.SequenceNode)
    return YamlText(value, tuple(entry.start_mark.line + 1 for entry in node.value) if is_list else ())


def read_safetensors(
    path: str | Path, expected: str, error: type[SapwoodError]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file: its tensors and its metadata.

    Raises:
        SapwoodError: An ``error``, if it is missing or damaged.
    """
    from safetensors import safe_open

    check_regular(path, expected, error)
    with reading(path, expected, error), safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def parse_number(text: str) -> float:
    """Reads a number as files write it; Python itself takes ``1_0`` and the digits of any script, too.

    Raises:
        ValueError: If it is none.

    Examples:
        >>> parse_number(" 1e-3 ")
        0.001
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is no number")
    return float(text)


def parse_whole(text: str) -> int:
    """Reads a whole number as files write it, of at most 18 digits.

    Raises:
        ValueError: If it is none.
    """
    if "_" in text or not text.isascii() or len(text) > MAX_DIGITS + 1:
        raise ValueError(f"{shown(text)} is no whole number of at most {MAX_DIGITS} digits")
    return int(text)


def is_plain(text: str) -> bool:
    """Whether a name is text that can be written and shown: no half characters, and nothing that steers a terminal.

    Examples:
        >>> is_plain("cat"), is_plain("cat" + chr(27) + "[2J"), is_plain(chr(0xD800))
        (True, False, False)
    """
    return not any(category(letter) in {"Cc", "Cs"} and letter != "\t" for letter in text)


def shown(value: Any) -> str:
    """A value that came from a file, for a message: cut short, however large it is.

    Examples:
        >>> shown("cat"), shown([1, 2.5, None])
        ("'cat'", '[1, 2.5, None]')
        >>> shown(list(range(10**6)))
        '[0, 1, 2, 3, 4, 5, ...]'
    """
    try:
        return _cut(_SHORT.repr(value))
    except ValueError:
        return "a number of thousands of digits"


def check_regular(path: str | Path, expected: str, error: type[SapwoodError]) -> None:
    """Checks that a file is one, and no directory, device or pipe.

    Raises:
        SapwoodError: An ``error``, if it is missing or something else.
    """
    with reading(path, expected, error):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise error(f"{path}: is {_kind(mode)}; expected {expected}")


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe at once, so that it can be refused."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _kind(mode: int) -> str:
    return "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"


def _fault(cause: Exception) -> str:
    """What went wrong, in words."""
    if isinstance(cause, OSError):
        known = {FileNotFoundError: "no such file", IsADirectoryError: "is a directory"}
        return known.get(type(cause), f"cannot be read ({cause.strerror or _message(cause)})")
    if isinstance(cause, MemoryError):
        return "does not fit into memory"
    if isinstance(cause, UnicodeDecodeError):
        return f"is not UTF-8 text (byte {cause.start})"
    if isinstance(cause, RecursionError):
        return "is nested too deeply"
    return f"is damaged, or something else ({type(cause).__name__}: {_message(cause)})"


def _message(cause: Exception) -> str:
    return _cut(" ".join(_COLOUR.sub("", str(cause)).split()))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _num_nodes(
    node: yaml.Node, known: dict[int, int], where: str | Path, expected: str, error: type[SapwoodError]
) -> int:
    """How many values a node is with aliases written out; one that holds itself, and keys said twice, are refused."""
    place = f"{where}:{node.start_mark.line + 1}"
    if id(node) in known:
        if known[id(node)] == 0:
            raise error(f"{place}: holds itself through an alias; expected {expected}")
        return known[id(node)]
    known[id(node)] = 0
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inside = node.value
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node, where, expected, error)
        inside = [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_num_nodes(part, known, where, expected, error) for part in inside)
    return known[id(node)]


def _check_keys(node: yaml.MappingNode, where: str | Path, expected: str, error: type[SapwoodError]) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
            place = f"{where}:{key.start_mark.line + 1}"
            raise error(f"{place}: the key {key.value!r} is there twice; expected {expected}")
        if isinstance(key, yaml.ScalarNode):
            seen.add((key.tag, key.value))
