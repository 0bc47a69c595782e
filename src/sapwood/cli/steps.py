"""A step of a recipe -> the command that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from typer.core import TyperGroup, TyperOption

from sapwood.cli.flags import OTHER_OPTIONS, OTHER_VERBS
from sapwood.cli.renamed import RENAMED, renamed
from sapwood.errors import ConfigError
from sapwood.meant import meant_name
from sapwood.reading import reading, shown

if TYPE_CHECKING:
    from sapwood.recipe import Recipe, RecipeStep

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""The error of click for wrong usage; later versions of Typer carry a copy of click of their own."""

_OWN_FLAGS = {"--out", "--json", "--resume", "--help", "--quiet", "--verbose"}
"""Options of which a run takes care itself."""


@dataclass(frozen=True)
class Kind:
    """What a verb needs of a recipe, and gives it.

    Attributes:
        model: Where in a step's directory the network stands that it makes; None if it makes none.
        writes: Whether it takes `-o`.
        looks: Whether a step with these options (``remove_blocks``) looks at pictures: the recipe's, where it names no
            other. None: never.
        several: Whether it may be about several networks.
    """

    model: str | None = None
    writes: bool = True
    looks: Callable[[Mapping[str, Any]], bool] | None = None
    several: bool = False


def _always(options: Mapping[str, Any]) -> bool:
    del options
    return True


def _where_asked(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    """Where one of these options is given, and on."""
    return lambda options: any(options.get(name) not in (None, False, "none") for name in names)


def _prunes_by_pictures(options: Mapping[str, Any]) -> bool:
    from sapwood.pipeline import scores_by_pictures

    criterion = options.get("criterion")
    by = criterion is not None and scores_by_pictures(str(criterion))
    return by or _where_asked("recover", "sensitivity", "remove_blocks", "low_rank")(options)


def _masks_by_pictures(options: Mapping[str, Any]) -> bool:
    from sapwood.pipeline import masks_by_pictures

    chosen = {"method": ""} | {name: str(options[name]) for name in ("method", "criterion") if name in options}
    by = masks_by_pictures(**chosen, has_latency=options.get("latency") is not None)
    return by or _where_asked("recover")(options)


VERBS: Mapping[str, Kind] = {
    "train": Kind(model="model", looks=_always),
    "prune": Kind(model=".", looks=_prunes_by_pictures),
    "compact": Kind(model="."),
    "mask": Kind(model=".", looks=_masks_by_pictures),
    "eval": Kind(writes=False, looks=_always),
    "bench": Kind(writes=False, several=True),
    "inspect": Kind(writes=False, looks=_where_asked("sensitivity", "blocks")),
    "compare": Kind(looks=_always),
    "compile": Kind(),
    "export": Kind(looks=_where_asked("int8")),
}
"""The verbs that steps may have."""


@dataclass(frozen=True)
class Command:
    """A step as a command.

    Attributes:
        step: What it does.
        arguments: After ``sapwood``.
        models: The networks it is about.
        directory: Where its files go.
        made: The network that it makes, if it makes one.
        files: Files to write before it runs, with their text.
    """

    step: RecipeStep
    arguments: tuple[str, ...]
    models: tuple[str, ...]
    directory: Path
    made: str | None
    files: Mapping[Path, str]


def commands(recipe: Recipe, out: Path, group: TyperGroup) -> list[Command]:
    """Returns the command of each step, all checked before any runs.

    Args:
        recipe: What is to be done.
        out: Where everything goes: each step's files into a directory ``NN-name``.
        group: The command line, for its options.

    Raises:
        ConfigError: Naming the step that has an unknown verb, option, value or network.
    """
    from sapwood.recipe import ORIGINAL

    known, last, found = {ORIGINAL: recipe.model}, recipe.model, []
    for number, step in enumerate(recipe.steps, start=1):
        where = f"step {number} ({step.name})"
        if step.verb not in VERBS:
            meant = meant_name(step.verb, VERBS, {word: verb for word, verb in OTHER_VERBS.items() if verb in VERBS})
            raise ConfigError(f"{where}: unknown verb {step.verb!r}; expected one of {', '.join(VERBS)}{meant}")
        models = tuple(known.get(name, name) for name in step.model) or (last,)
        _check_names(models, where)
        if len(models) > 1 and not VERBS[step.verb].several:
            raise ConfigError(f"{where}: {step.verb} is about one network, got {len(models)}")
        made = _command(recipe, step, models, out / f"{number:02}-{step.name}", group, known, where)
        found.append(made)
        if made.made is not None:
            known[step.name] = last = made.made
    return found


def _command(
    recipe: Recipe,
    step: RecipeStep,
    models: tuple[str, ...],
    directory: Path,
    group: TyperGroup,
    known: Mapping[str, str],
    where: str,
) -> Command:
    kind, verb = VERBS[step.verb], group.commands[step.verb]
    options = dict(step.options)
    if kind.looks is not None and not kind.looks({name.replace("-", "_"): value for name, value in options.items()}):
        if "data" in options:
            raise ConfigError(f"{where}: data {shown(options['data'])}: with these options nothing looks at it")
    elif kind.looks is not None and recipe.data is not None:
        options.setdefault("data", recipe.data)
    if isinstance(options.get("teacher"), str):
        options["teacher"] = known.get(options["teacher"], options["teacher"])
    options |= _of_the_original(recipe, verb, models, options, where)
    arguments, files = [step.verb, *models], {}
    for name, value in options.items():
        flag = _flag(verb, name, where)
        if _stands_in_a_file(value):
            path = directory.with_name(f"{directory.name}.{name}.yaml")
            files[path] = _written(value, f"{where}: {name}")
            arguments += _option(verb, flag, str(path), where)
        else:
            arguments += _option(verb, flag, value, where)
    if kind.writes:
        arguments += ["-o", str(_output(step, directory, where))]
    arguments.append("--json")
    _check(verb, arguments[1:], where)
    made = None if kind.model is None else str(directory / kind.model)
    return Command(step, tuple(arguments), models, directory, made, files)


def _of_the_original(
    recipe: Recipe, verb: Any, models: tuple[str, ...], options: Mapping[str, Any], where: str
) -> dict[str, str]:
    """The options that say what the recipe's own network needs besides its name, where a step is about it."""
    if recipe.weights is not None and recipe.model in models[1:]:
        raise ConfigError(f"{where}: the network with `weights` stands behind another; expected it first in `model`")
    taken = {one.name for one in verb.params}
    about, taught = models[0] == recipe.model, options.get("teacher") == recipe.model
    wanted = (
        ("weights", recipe.weights if about else None),
        ("names", recipe.names if about else None),
        ("model_factory", recipe.model_factory if about else None),
        ("teacher_weights", recipe.weights if taught else None),
        ("teacher_factory", recipe.model_factory if taught else None),
    )
    return {name: str(path) for name, path in wanted if path is not None and name in taken}


def _output(step: RecipeStep, directory: Path, where: str) -> Path:
    if step.verb != "export":
        return directory
    return directory / f"network{_suffix(step.options.get('format'), where)}"


def _suffix(wanted: Any, where: str) -> str:
    """How files of a format end."""
    from sapwood.export import EXPORTERS

    if not isinstance(wanted, str) or wanted not in EXPORTERS:
        expected = f"expected one of {', '.join(EXPORTERS)}{EXPORTERS.meant(wanted)}"
        given = "no format" if wanted is None else f"unknown format {shown(wanted)}"
        raise ConfigError(f"{where}: {given}; {expected}")
    return EXPORTERS[wanted].suffix


def _stands_in_a_file(value: Any) -> bool:
    """Whether a value is what would stand in a file: a mapping, or rows, as those of `cases`."""
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(row, Mapping) for row in value))


def _written(content: Mapping[str, Any] | list[Any], where: str) -> str:
    """The file that stands in a recipe as a mapping or as rows."""
    with reading(where, "options that YAML can write", ConfigError):
        return yaml.safe_dump(dict(content) if isinstance(content, Mapping) else content, sort_keys=False)


def _options_of(verb: Any) -> dict[str, Any]:
    return {flag: one for one in verb.params if isinstance(one, TyperOption) for flag in one.opts}


def _flag(verb: Any, name: str, where: str) -> str:
    """What the command line calls an option of a step."""
    flag, options = "--" + name.replace("_", "-"), _options_of(verb)
    if RENAMED.get(verb.name, {}).get(flag, flag) not in options or flag in _OWN_FLAGS:
        own = sorted({flag for flag in options if flag.startswith("--")} - _OWN_FLAGS)
        others = {word: option for word, option in OTHER_OPTIONS.items() if option in own}
        expected = f"expected one of {', '.join(own)}{meant_name(name, own, others)}"
        raise ConfigError(f"{where}: {verb.name} has no option {shown(name)} in a recipe; {expected}")
    return flag


def _option(verb: Any, flag: str, value: Any, where: str) -> list[str]:
    """An option of a step as the command line has it."""
    name = flag.removeprefix("--").replace("-", "_")
    option = _options_of(verb)[RENAMED.get(verb.name, {}).get(flag, flag)]
    if option.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {name} is on or off; expected true or false, got {shown(value)}")
        return [flag] if value else []
    values = value if isinstance(value, list) else [value]
    if len(values) > 1 and not option.multiple:
        raise ConfigError(f"{where}: {name} takes one value; got {len(values)}: {shown(value)}")
    return [part for one in values for part in _with_value(flag, _text(one, name, where))]


def _text(value: Any, name: str, where: str) -> str:
    """What a value of a recipe is on the command line."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        expected = "text or a number; what YAML reads as anything else belongs in quotes"
        raise ConfigError(f"{where}: {name}: {shown(value)}; expected {expected}")
    if "\0" in str(value):
        raise ConfigError(f"{where}: {name}: {shown(value)}; expected text without NUL")
    return str(value)


def _with_value(flag: str, text: str) -> list[str]:
    """An option with its value: in one word where the value looks like an option, which it must not become."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _check_names(models: Sequence[str], where: str) -> None:
    """Refuses networks that the command line would take for options."""
    for model in models:
        if model.startswith("-") or not model:
            raise ConfigError(f"{where}: the network {shown(model)}; expected a name that does not begin with -")


def _check(verb: Any, arguments: list[str], where: str) -> None:
    """Lets the command line's own parser look at the arguments."""
    try:
        verb.make_context(str(verb.name), renamed([str(verb.name), *arguments])[1:])
    except UsageError as error:
        problem: Any = error
        raise ConfigError(f"{where}: {problem.format_message()}") from None
