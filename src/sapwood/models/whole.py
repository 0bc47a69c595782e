"""Which tensors the words of ``ignore`` name: parameters, modules, classes of modules, single dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.models.walking import named_tensors

_ONE_DIMENSION = re.compile(r"(.*)(\[\d+\])")
_PARAMETRIZED = re.compile(r"(?:(.*)\.)?parametrizations\.(.+)\.(?:original\d*|\d+\..*)")
_COMPUTED = re.compile(r"(.*)_(?:orig|[guv])")
"""Suffixes of what a mask, a weight norm or a spectral norm keeps in place of a parameter."""

Ignored = Mapping[str, "str | None"] | Iterable[str] | None
"""What must stay whole: names with reasons, or names alone."""


def whole_tensors(model: nn.Module, ignore: Ignored, *, option: str = "ignore") -> dict[str, str]:
    """Finds the tensors that must stay whole.

    Args:
        model: The model.
        ignore: Names, with a reason each or without. A name is that of a parameter, of a module for all parameters in
            it, or of a dimension (``"conv.weight[0]"``), with ``*`` and ``?`` as in a shell; or ``type:Linear`` for all
            modules of a class.
        option: What the user knows ``ignore`` as, for messages.

    Returns:
        Tensor or dimension -> reason.

    Raises:
        ConfigError: If a name names nothing, or a reason is no text.

    Examples:
        >>> whole_tensors(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), {"0": "as it was", "0.w*[1]": None})
        {'0.weight': 'as it was', '0.bias': 'as it was', '0.weight[1]': 'ignored, as asked: 0.w*[1]'}
    """
    found: dict[str, str] = {}
    tensors = _tensors(model)
    for pattern, reason in _asked(ignore, option):
        split = _ONE_DIMENSION.fullmatch(pattern) if pattern not in tensors else None
        whole, dimension = (split[1], split[2]) if split else (pattern, "")
        own = _named(model, whole, tensors)
        if not own:
            names = ", as " + repr(next(iter(tensors))) if tensors else ", and the model has none"
            raise ConfigError(f"{option} {pattern!r} names nothing; expected a parameter or a module{names}")
        if dimension:
            own = [name for name in own if int(dimension[1:-1]) < tensors[name].dim()]
            if not own:
                raise ConfigError(f"{option} {pattern!r} names nothing; {whole!r} has no dimension {dimension[1:-1]}")
        own += [name.removesuffix("_orig") for name in own if name.endswith("_orig")]  # once its mask is permanent
        found.update((f"{name}{dimension}", reason) for name in own)
    return found


def _asked(ignore: Ignored, option: str) -> Iterator[tuple[str, str]]:
    """Names and reasons, checked."""
    if isinstance(ignore, str):
        ignore = (ignore,)
    if ignore is not None and not isinstance(ignore, Iterable):
        raise ConfigError(f"{option}: got {_kind(ignore)}; expected names, or a dict of names and reasons")
    pairs = ignore.items() if isinstance(ignore, Mapping) else ((name, None) for name in ignore or ())
    for name, reason in pairs:
        if not isinstance(name, str):
            raise ConfigError(f"{option}: got {_kind(name)}; expected the name of a parameter or a module")
        if not isinstance(reason, str | None):
            raise ConfigError(f"{option} {name!r}: the reason is {_kind(reason)}; expected a text, or None")
        yield name, reason or f"ignored, as asked: {name}"


def _kind(value: object) -> str:
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by every name that they have, then buffers."""
    named = named_tensors(model, every=True)
    return dict(named)


def _named(model: nn.Module, pattern: str, tensors: Mapping[str, Tensor]) -> list[str]:
    """The parameters that a pattern names; buffers only by their own names."""
    parameters = [name for name in tensors if isinstance(tensors[name], nn.Parameter)]
    if pattern.startswith("type:"):
        return _of_type(model, pattern.removeprefix("type:"), parameters)
    by_name = [name for name in parameters if pattern in _paths(name)]
    own = by_name or [name for name in parameters if any(fnmatchcase(path, pattern) for path in _paths(name))]
    return own or [name for name in tensors if pattern == name or fnmatchcase(name, pattern)]


def _of_type(model: nn.Module, pattern: str, names: Iterable[str]) -> list[str]:
    """The parameters that belong to modules of a class, what computes them included."""
    modules = {
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if any(fnmatchcase(kind.__name__, pattern) for kind in _kinds(module))
    }
    return [name for name in names if (_plain_name(name) or name).rpartition(".")[0] in modules]


def _kinds(module: nn.Module) -> Iterator[type]:
    """The class of a module; that of a parametrized one was made by PyTorch, and stands for the one below it."""
    yield type(module)
    if hasattr(module, "parametrizations"):
        yield type(module).__mro__[1]


def _plain_name(name: str) -> str | None:
    """The name of the parameter that a tensor takes part in, where a mask, a norm or a parametrization computes it."""
    inside = _PARAMETRIZED.fullmatch(name)
    if inside:
        return ".".join(part for part in inside.groups() if part)
    computed = _COMPUTED.fullmatch(name)
    return computed[1] if computed else None


def _paths(name: str) -> list[str]:
    """A parameter's names, with and without what computes it, and the modules it is in."""
    parts = name.split(".")
    modules = [".".join(parts[:end]) for end in range(1, len(parts))]
    return [name, *filter(None, [_plain_name(name)]), *modules]
