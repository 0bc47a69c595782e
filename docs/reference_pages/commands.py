"""The command line, verb by verb: what the parsers hold."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from reference_pages.markdown import MADE, code, table
from sapwood.cli.app import app
from sapwood.cli.renamed import RENAMED

INTRODUCTION = """# Commands

The page of a verb has every option that `sapwood VERB --help` shows. What options have in common, exit codes and Ctrl-C
stand in [the command line](../command-line.md).

"""

OWN = "Of this verb"
"""The heading of options that stand in no group."""


def command_pages() -> dict[str, str]:
    """Returns the list of the verbs and a page for each."""
    verbs = verb_parsers()
    rows = [[f"[`{name}`](commands/{name}.md)", _summary(verb)] for name, verb in verbs.items()]
    toc = "\n".join(f"commands/{name}" for name in verbs)
    listed = f"{MADE}{INTRODUCTION}{table(['verb', 'what it does'], rows)}\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    return {"commands.md": listed, **{f"commands/{name}.md": verb_page(name, verb) for name, verb in verbs.items()}}


def verb_parsers() -> dict[str, Any]:
    """Returns the parser of each verb, by its name."""
    root: Any = typer.main.get_command(app)
    return dict(root.commands)


def verb_page(name: str, verb: Any) -> str:
    """The page of one verb: usage, what it does, its arguments and options in groups."""
    arguments = [one for one in verb.params if one.param_type_name == "argument"]
    usage = " ".join(["sapwood", name, "[OPTIONS]", *(_placeholder(one) for one in arguments)])
    parts = [f"{MADE}# {name}\n", f"```text\n{usage}\n```\n", f"{verb.help}\n"]
    if arguments:
        rows = [[code(_placeholder(one)), one.help or ""] for one in arguments]
        parts.append(table(["argument", "meaning"], rows))
    parts += [f"## {title}\n\n{_options(group)}" for title, group in grouped(verb).items()]
    before = RENAMED.get(name, {})
    if before:
        rows = [[code(old), code(now)] for old, now in before.items()]
        parts.append(f"## Names of before\n\nThey go on working, with a warning.\n\n{table(['before', 'now'], rows)}")
    return "\n".join(parts)


def grouped(verb: Any) -> dict[str, list[Any]]:
    """A verb's options by the group that the help shows them in, in the order of the help."""
    groups: dict[str, list[Any]] = {}
    for one in verb.params:
        if one.param_type_name == "option" and not one.hidden:
            groups.setdefault(one.rich_help_panel or OWN, []).append(one)
    return groups


def _options(group: list[Any]) -> str:
    rows = [
        [", ".join(map(code, _names(one))), code(_value(one)), code(_default(one)), one.help or ""] for one in group
    ]
    return table(["option", "value", "default", "meaning"], rows)


def _names(option: Any) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return f"{name}..." if argument.nargs == -1 else str(name)


def _value(option: Any) -> str:
    """What is written behind an option; nothing of a flag."""
    if option.is_flag:
        return ""
    choices = _choices(option)
    return "\\|".join(choices) if choices else str(option.metavar or _type_name(option))


def _choices(option: Any) -> list[str]:
    """The texts that an option takes, where these are all it takes."""
    kind = _kind(option)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(one.value) for one in kind]
    return [str(getattr(one, "value", one)) for one in getattr(kind, "choices", None) or ()]


def _kind(option: Any) -> Any:
    """The type that an option's text becomes: as Typer has it since it does without Click, or Click's."""
    descriptor = getattr(option, "type_descriptor", None)
    kind = option.type if descriptor is None else descriptor.annotation
    return get_args(kind)[0] if get_origin(kind) is list else kind


def _type_name(option: Any) -> str:
    kind = _kind(option)
    named = {Path: "PATH", int: "NUMBER", float: "NUMBER", str: "TEXT"}
    return named.get(kind) or str(getattr(kind, "name", "text")).upper().replace("INTEGER", "NUMBER")


def _default(option: Any) -> str:
    """What the help shows for a default: a text of its own, or the value."""
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.default
    if option.is_flag or value is None or callable(value):
        return ""
    return str(value.value if isinstance(value, Enum) else value)


def _summary(verb: Any) -> str:
    """The first sentence of the help."""
    first, _, _ = str(verb.help).split("\n\n")[0].replace("\n", " ").partition(". ")
    return first.removesuffix(".") + "."
