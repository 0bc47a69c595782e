"""What ``torch.save`` wrote, read without running any of it; objects of classes that are not PyTorch's stay empty.

Trainers save their options, histories and schedulers beside the weights, as objects of classes of their own. Not one of
these classes is looked up: an :class:`Inert` stands where the object would, so that the tensors beside it can be read.
"""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from torch import Tensor

from sapwood.errors import SapwoodError
from sapwood.foreign import foreign
from sapwood.reading import check_regular, opened, reading

_LEGACY_PARTS = 4
"""Pickles at the beginning of a file of PyTorch before 1.6: a mark, a version, the machine, the content."""

_LEGACY_MARK = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_BEGINS = 32
_MOST_MODULES = 100_000
_SHOWN = 3


class Inert:
    """Stands for an object whose class is not looked up.

    Attributes:
        named: The class, or the function that would have made the object: ``"argparse.Namespace"``.
        state: What was to become its attributes; empty where the file says that by a call.
    """

    named = ""
    state: Mapping[str, Any] = {}

    def __new__(cls, *_args: object, **_named: object) -> Inert:  # noqa: D102 - takes whatever a file has for a class
        return object.__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, Mapping) else {}


class _AsDict:
    """Stands for a class of dictionaries: what it would make is a plain one."""

    def __new__(cls, *_args: object, **_named: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def read_pickled(path: str | Path, expected: str, error: type[SapwoodError]) -> Any:
    """Reads what ``torch.save`` wrote, without running any of it: tensors, numbers, texts and containers.

    Args:
        path: The file.
        expected: What should be there, for messages.
        error: What is raised.

    Returns:
        The content, in which an :class:`Inert` stands for every object of another class.

    Raises:
        SapwoodError: An ``error``, if it is missing, damaged, or cannot be read without what it names.
    """
    check_regular(path, expected, error)
    with opened(path, expected, error) as file:
        begins = file.read(_BEGINS)
    if begins.startswith(b"\x80") and _LEGACY_MARK not in begins and not foreign(path):
        raise error(
            f"{path}: is a pickle that torch.save did not write, of which nothing is executed; expected {expected}"
        )
    names = sorted(named_in(path))
    with reading(path, expected, error), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of other pickle protocols, which torch then refuses
        try:
            return _read(path, [])
        except UnpicklingError as first:
            for stands in _stands(names):
                with suppress(Exception):
                    return _read(path, stands)
            raise error(f"{path}: {_refused(path, names, first)}; expected {expected}") from first


def named_in(path: str | Path) -> set[str]:
    """The classes and functions that a file of ``torch.save`` names, PyTorch's own among them; none is looked up.

    Returns:
        ``package.module.name`` of each; empty of a damaged file, and of one that is none of PyTorch's.
    """
    try:
        if zipfile.is_zipfile(path):
            return _named_in_archive(path)
        found = set[str]()
        with opened(path, "a file of PyTorch", SapwoodError) as file:
            if _LEGACY_MARK not in file.read(_BEGINS):
                return set()
            file.seek(0)
            for _ in range(_LEGACY_PARTS):
                found |= set(_named(file))
            return found
    except Exception:  # pickletools raises whatever its operands do
        return set()


def tensors_of(module: Inert) -> dict[str, Tensor] | None:
    """The tensors of a module that was saved whole, as its ``state_dict`` would have them; None of another object."""
    return dict(_tensors(module)) if "_modules" in module.state else None


def _stands(names: list[str]) -> Iterator[list[Any]]:
    """What stands for the classes of a file, the likeliest first."""
    if names:
        yield [(type("Inert", (Inert,), {"named": name}), name) for name in names]
        yield [(_AsDict, name) for name in names]


def _read(path: str | Path, stands: list[Any]) -> Any:
    registered = torch.serialization.get_safe_globals()  # by whoever reads files of a framework in this process
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(stands)
        return torch.load(path, map_location="cpu", weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(registered)


def _refused(path: str | Path, names: list[str], cause: Exception) -> str:
    strange = [name for name in names if not name.startswith(("torch.", "collections."))]
    if strange:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        return f"holds {', '.join(strange[:_SHOWN])}{more}, of which nothing is looked up or executed"
    return foreign(path) or f"is damaged, or something else ({type(cause).__name__})"


def _named_in_archive(path: str | Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        inside = [one for one in archive.infolist() if one.filename.rpartition("/")[2] == "data.pkl"]
        if len(inside) != 1 or inside[0].compress_type != zipfile.ZIP_STORED:
            return set()
        with archive.open(inside[0]) as file:
            return set(_named(file))


def _named(file: IO[bytes]) -> Iterator[str]:
    """What one pickle names, as Python 3 calls it."""
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield _renamed(module, name)
        elif operation.name == "STACK_GLOBAL" and len(texts) > 1:
            yield _renamed(texts[-2], texts[-1])
        elif isinstance(argument, str):
            texts = [*texts[-1:], argument]


def _renamed(module: str, name: str) -> str:
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _tensors(module: Inert) -> Iterator[tuple[str, Tensor]]:
    """Walks a module without its class; one that holds itself, or far too many, ends in an error."""
    left: list[tuple[str, Inert]] = [("", module)]
    for _ in range(_MOST_MODULES):
        if not left:
            return
        prefix, one = left.pop()
        unsaved = one.state.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            held = one.state.get(kind)
            for name, tensor in held.items() if isinstance(held, Mapping) else ():
                if isinstance(tensor, Tensor) and name not in unsaved:
                    yield f"{prefix}{name}", tensor.detach()
        children = one.state.get("_modules")
        inside = children.items() if isinstance(children, Mapping) else ()
        left += [(f"{prefix}{name}.", child) for name, child in inside if isinstance(child, Inert)][::-1]
    raise ValueError(f"more than {_MOST_MODULES} modules")
