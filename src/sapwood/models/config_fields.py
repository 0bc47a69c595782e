"""Which sizes of a transformers model its config says: found by building it, without values, from changed configs.

Nothing is known of any family here. Each number of the config is doubled in turn; the sizes that double with it are the
ones it says. Two numbers that one size doubles with are its factors, as heads and their width.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.models.copying import copy_model
from sapwood.models.places import AttributePlace, is_config, is_plain
from sapwood.models.plan import AttributeEdit
from sapwood.models.walking import named_modules

Dim: TypeAlias = tuple[str, int]
"""A dimension of a parameter or buffer."""

NO_WIDTH = re.compile(r"(^|[._])(id|ids|index|indices|version|vocab_size|label\w*|\w*position\w*)(\d*)$|_ids?$|2id\.")
"""Numbers of a config that are no widths: kinds of tokens, places, classes."""

HEADS = re.compile(r"heads?$")
"""Numbers of heads, which stand before the width of a head in a dimension that is made of both."""

HEAD_WIDTH = "head_dim"
"""The width of a head, which many classes read from a config that need not have it."""


@dataclass(frozen=True)
class ConfigFields:
    """What the numbers of a config say of a model's sizes.

    Attributes:
        path: Name of the module that has the config and can be built from it.
        values: The numbers, by name: ``"text_config.hidden_size"``.
        dims: Dimension -> the numbers that it is a multiple of, the outermost first.
        odd: Dimensions that follow a number in any other way.
        heads: Numbers that no size follows, and the modules that keep them as an attribute: how many heads.
        computed: Buffers that no file holds, as they are made from the config.
        multiples: Pairs of numbers of which the first must be a multiple of the second, or the config is refused.
        base: The model as the config builds it, without values.
        stays: Numbers that are to stay, each with the reason: with others the config builds something else.
    """

    path: str
    values: Mapping[str, int]
    dims: Mapping[Dim, tuple[str, ...]]
    odd: frozenset[Dim]
    heads: Mapping[str, frozenset[str]]
    computed: frozenset[str]
    multiples: tuple[tuple[str, str], ...]
    base: nn.Module = field(repr=False, compare=False)
    stays: Mapping[str, str] = field(default_factory=dict)

    def changed(self, config: Any) -> tuple[str, ...]:
        """The numbers that are others in ``config``."""
        return tuple(name for name, value in self.values.items() if _value(config, name) != value)

    def edits(self, model: nn.Module, wanted: Mapping[str, int]) -> list[AttributeEdit]:
        """What has to be set in ``model`` so that it is as a config with other numbers would build it.

        Args:
            model: A model as this config builds it, but for attributes that were set already.
            wanted: Numbers by name; all others stay.

        Raises:
            ConfigError: If no model can be built with them.
        """
        changed = {name: value for name, value in wanted.items() if value != self.values[name]}
        if not changed:
            return []
        built = _built(self.base, changed)
        if isinstance(built, Exception):
            raise ConfigError(f"{type(self.base).__name__} cannot be built with {_shown(changed)}: {built}") from built
        if _parts(built) != _parts(self.base):
            more = sorted(_parts(built).symmetric_difference(_parts(self.base)))[0]
            raise ConfigError(f"{type(self.base).__name__} has other layers with {_shown(changed)}, as {more}")
        found = [*_of_modules(self.base, built), *_of_configs(self.base, built)]
        named = (replace(edit, module=_joined(self.path, edit.module)) for edit in found)
        return [own for edit in named if (own := _due(model, edit)) is not None]


def config_module(model: nn.Module) -> str | None:
    """The name of the outermost module that is a transformers model with a config; None where there is none.

    Examples:
        >>> config_module(nn.Linear(2, 2)) is None
        True
    """
    return next((name for name, module in named_modules(model) if is_pretrained(module)), None)


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module is one that transformers loads from a folder."""
    kinds = ((kind.__module__.partition(".")[0], kind.__name__) for kind in type(module).__mro__)
    return ("transformers", "PreTrainedModel") in kinds and hasattr(module, "config")


def config_fields(model: nn.Module, stays: Mapping[str, str] | None = None) -> ConfigFields:
    """Finds out what the config of a transformers model says of its sizes.

    Args:
        model: The model, or one that holds it. Read only.
        stays: Numbers that are to stay, each with the reason.

    Raises:
        ConfigError: If there is no such model in it, or its config builds another one.
    """
    path, base = config_base(model)
    base, probed, dims, odd = _probed(base)
    heads = {
        name: kept
        for name, other in probed.items()
        if name not in _all(dims) and HEADS.search(name) and (kept := _keepers(base, other))
    }
    saved = base.state_dict().keys() - not_written(base)
    return ConfigFields(
        path,
        {name: _value(base.config, name) for name in probed if name in _all(dims) or name in heads},
        {(_joined(path, tensor), dim): names for (tensor, dim), names in dims.items()},
        frozenset((_joined(path, tensor), dim) for tensor, dim in odd),
        {name: frozenset(_joined(path, one) for one in kept) for name, kept in heads.items()},
        frozenset(_joined(path, name) for name in _tensors(base) if name not in saved),
        tuple(_multiples(base, dims)),
        base,
        {} if stays is None else stays,
    )


def not_written(model: nn.Module) -> frozenset[str]:
    """Tensors of its state that a transformers model leaves out of a folder, for its config says them."""
    return frozenset(getattr(model, "_keys_to_ignore_on_save", None) or ())


def _tensors(model: nn.Module) -> Iterator[str]:
    for name, _ in (*model.named_parameters(), *model.named_buffers()):
        yield name


def _parts(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_modules()}


def config_base(model: nn.Module) -> tuple[str, nn.Module]:
    """Where the transformers model is in a model, and what its config builds, without values.

    Raises:
        ConfigError: If there is no such model in it, or its config builds another one.
    """
    path = config_module(model)
    if path is None:
        raise no_config(model)
    own = model.get_submodule(path)
    base = config_skeleton(own)
    check_built(own, base)
    return path, base


def no_config(model: nn.Module) -> ConfigError:
    """The error of a model whose widths no config says."""
    return ConfigError(
        f"as_config: a {type(model).__name__} has no config that could say its widths; expected a model of transformers"
    )


def config_numbers(config: Any) -> Iterator[tuple[str, int]]:
    """The numbers of a config that may be widths, or numbers of layers, by name."""
    for name in _numbers(config):
        yield name, _value(config, name)


def attribute_edits(base: nn.Module, built: nn.Module, path: str) -> list[AttributeEdit]:
    """What has to be set in one model so that it is as another of the same modules.

    Args:
        base: The model that is edited.
        built: The other one.
        path: Name of ``base`` in the model that the edits are of.
    """
    found = (_due(base, edit) for edit in (*_of_modules(base, built), *_of_configs(base, built)))
    return [replace(edit, module=_joined(path, edit.module)) for edit in found if edit is not None]


def config_skeleton(model: nn.Module) -> nn.Module:
    """What the config of a transformers model builds, without values.

    Raises:
        ConfigError: If it builds none.
    """
    found = _built(model, {})
    if isinstance(found, Exception):
        raise ConfigError(f"{type(model).__name__} cannot be built from its config: {found}") from found
    return found  # type: ignore[no-any-return]


def check_built(model: nn.Module, built: nn.Module) -> None:
    """Checks that a config builds the tensors that a model has.

    Raises:
        ConfigError: If it builds others; names the first.
    """
    own, others = ({name: tuple(one.shape) for name, one in m.state_dict().items()} for m in (model, built))
    for name in sorted({*own, *others}, key=lambda name: (name not in own, name)):
        if own.get(name) != others.get(name):
            raise ConfigError(
                f"the config of this {type(model).__name__} builds another model: {name} has "
                f"{_shape(own.get(name))}, and {_shape(others.get(name))} by the config"
            )


def rebuilt(model: nn.Module) -> nn.Module:
    """A copy of a model in which the transformers model in it is what its config builds, with the same tensors.

    Raises:
        ConfigError: If the config builds another model, or there is none.
    """
    path = config_module(model)
    if path is None:
        raise ConfigError(f"a {type(model).__name__} holds no model of transformers")
    own: Any = model.get_submodule(path)
    check_built(own, config_skeleton(own))
    again = build(type(own), copy.deepcopy(own.config))
    example = next(own.parameters())
    unwritten = not_written(own)
    written = {name: one for name, one in own.state_dict().items() if name not in unwritten}
    again.to(example.device, example.dtype).load_state_dict(written, strict=not unwritten)
    if not path:
        return again
    twin = copy_model(model)
    parent, _, leaf = path.rpartition(".")
    setattr(twin.get_submodule(parent), leaf, again)
    return twin


def build(kind: type[nn.Module], config: Any) -> nn.Module:
    """A model of a class from a config, as ``from_pretrained`` makes it before it reads the file."""
    with torch.random.fork_rng(devices=[]):
        return kind(config).eval()


def _built(model: nn.Module, changes: Mapping[str, int]) -> Any:
    """A model without values of the same class, with other numbers in the config; the error where there is none."""
    config = copy.deepcopy(model.config)
    try:
        for name, value in changes.items():
            *path, leaf = name.split(".")
            holder = config
            for part in path:
                holder = getattr(holder, part)
            setattr(holder, leaf, value)
        getattr(config, "validate", lambda: None)()
        with torch.device("meta"):
            return build(type(model), config)
    except Exception as error:  # whatever a class says to numbers that do not suit each other
        return error


def _probed(base: nn.Module) -> tuple[nn.Module, dict[str, nn.Module], dict[Dim, tuple[str, ...]], set[Dim]]:
    """What each number does, and with the width of a head as one of them where more sizes are clear then."""
    probed = {name: other for name in _numbers(base.config) if (other := _doubled(base, name)) is not None}
    dims, odd = _followed(base, probed)
    heads, width = (getattr(base.config, name, None) for name in ("num_attention_heads", "hidden_size"))
    if odd and HEAD_WIDTH not in probed and type(heads) is int and type(width) is int:
        said = _built(base, {HEAD_WIDTH: width // heads})
        if not isinstance(said, Exception) and _sizes(said) == _sizes(base):
            again = {name: other for name in _numbers(said.config) if (other := _doubled(said, name)) is not None}
            more, fewer = _followed(said, again)
            if len(fewer) < len(odd):
                return said, again, more, fewer
    return base, probed, dims, odd


def _numbers(config: Any, path: str = "") -> Iterator[str]:
    """The names of a config's numbers that may be widths."""
    for name, value in vars(config).items():
        full = f"{path}{name}"
        if name.startswith("_") or NO_WIDTH.search(full):
            continue
        if type(value) is int and value > 0:
            yield full
        elif is_config(value):
            yield from _numbers(value, f"{full}.")


def _value(config: Any, name: str) -> int:
    for part in name.split("."):
        config = getattr(config, part)
    return int(config)


def _doubled(base: nn.Module, name: str) -> nn.Module | None:
    """The model with twice that number; None where it cannot be built, or has other layers then."""
    other = _built(base, {name: 2 * _value(base.config, name)})
    same = isinstance(other, nn.Module) and other.state_dict().keys() == base.state_dict().keys()
    return other if same else None


def _sizes(model: nn.Module) -> dict[Dim, int]:
    return {(name, dim): size for name, one in model.state_dict().items() for dim, size in enumerate(one.shape)}


def _followed(base: nn.Module, probed: Mapping[str, nn.Module]) -> tuple[dict[Dim, tuple[str, ...]], set[Dim]]:
    """Which numbers each size is a multiple of, and the sizes that follow one in another way."""
    dims: dict[Dim, tuple[str, ...]] = {}
    odd: set[Dim] = set()
    sizes = _sizes(base)
    for name, other in probed.items():
        for place, size in _sizes(other).items():
            if size == 2 * sizes[place]:
                dims[place] = (*dims.get(place, ()), name)
            elif size != sizes[place]:
                odd.add(place)
    ordered = {place: tuple(sorted(names, key=lambda name: not HEADS.search(name))) for place, names in dims.items()}
    unclear = {place for place, names in ordered.items() if len(names) > 2 or not _is_clear(names)}
    return {place: names for place, names in ordered.items() if place not in odd | unclear}, odd | unclear


def _is_clear(names: tuple[str, ...]) -> bool:
    """Whether it is known which of two factors is the outer one."""
    return len(names) < 2 or [bool(HEADS.search(name)) for name in names] == [True, False]


def _all(dims: Mapping[Dim, tuple[str, ...]]) -> set[str]:
    return {name for names in dims.values() for name in names}


def _multiples(base: nn.Module, dims: Mapping[Dim, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """The numbers that must be a multiple of a number of heads, though no size is made of both."""
    names = sorted(_all(dims))
    for name in names:
        value, path = _value(base.config, name), name.rpartition(".")[0]
        heads = [one for one in names if HEADS.search(one) and one.rpartition(".")[0] == path and one != name]
        if heads and isinstance(_built(base, {name: value + 1}), Exception):
            for one in heads:
                step = _value(base.config, one)
                if step > 1 and not isinstance(_built(base, {name: value + step}), Exception):
                    yield name, one


def _keepers(base: nn.Module, other: nn.Module) -> frozenset[str]:
    """The modules with a whole number among their attributes that doubled."""
    modules = dict(other.named_modules())
    return frozenset(
        name
        for name, module in base.named_modules()
        for attribute, value in _plain(module)
        if type(value) is int and value and vars(modules[name]).get(attribute) == 2 * value
    )


def _plain(thing: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(thing).items():
        if not name.startswith("_") and name != "training" and is_plain(value):
            yield name, value


def _of_modules(base: nn.Module, built: nn.Module) -> Iterator[AttributeEdit]:
    """The attributes of modules that differ."""
    others = dict(built.named_modules())
    for name, module in base.named_modules():
        yield from _differing(name, "", module, others[name])


def _of_configs(base: nn.Module, built: nn.Module) -> Iterator[AttributeEdit]:
    """The numbers of configs that differ; of one that several modules share, at the first of them."""
    others, seen = dict(built.named_modules()), set()
    for name, module in base.named_modules():
        if not is_config(vars(module).get("config")):
            continue
        waiting = [("config.", module.config, others[name].config)]
        while waiting:
            path, one, other = waiting.pop()
            if id(one) not in seen:
                seen.add(id(one))
                yield from _differing(name, path, one, other)
                if HEAD_WIDTH in vars(other):  # that of the model given may have none
                    yield AttributeEdit(name, f"{path}{HEAD_WIDTH}", None, vars(other)[HEAD_WIDTH])
                inner = [(key, value) for key, value in vars(one).items() if is_config(value)]
                waiting += [(f"{path}{key}.", value, vars(other)[key]) for key, value in inner]


def _differing(module: str, path: str, one: Any, other: Any) -> Iterator[AttributeEdit]:
    for name, value in _plain(one):
        if name in vars(other) and vars(other)[name] != value:
            yield AttributeEdit(module, f"{path}{name}", value, vars(other)[name])


def _due(model: nn.Module, edit: AttributeEdit) -> AttributeEdit | None:
    """The edit from the value that ``model`` has now; None where that is right already."""
    now = AttributePlace.of(edit).get(model)
    return None if now == edit.after else replace(edit, before=now)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}".strip(".")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "no such tensor" if shape is None else f"shape {shape}"


def _shown(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
