"""Darknet ``.cfg`` files: read and written without losing a byte, with typed access to what they say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sapwood.errors import CfgError
from sapwood.limits import check_limit
from sapwood.models.darknet.encoding import read_cfg_text
from sapwood.models.darknet.keys import ALIASES, KNOWN_KEYS, UNSUPPORTED
from sapwood.models.darknet.spelling import check_keys, suggestion
from sapwood.reading import parse_number

_DIGITS = 18
_BEYOND = 1 << 31
"""Integers of Darknet are 32 bits wide."""
_SHOWN = 80
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Line:
    """One line of a file, kept as it was.

    Attributes:
        text: The line with its end (``"\\n"``, ``"\\r\\n"``, or nothing at the end of the file).
        number: Where it stood, from 1; 0 for a line that was added. Two lines are equal whatever their numbers.
    """

    text: str
    number: int = field(default=0, compare=False)

    @property
    def bare(self) -> str:
        """The line without white space at its ends."""
        return self.text.strip()

    @property
    def end(self) -> str:
        """The characters that end the line."""
        return self.text[len(self.text.rstrip("\r\n")) :]

    @property
    def option(self) -> tuple[str, str] | None:
        """(key, value) as written, or None for a blank line, a comment or a header."""
        if not self.bare or self.bare[0] in "#;[":
            return None
        key, _, value = self.bare.partition("=")
        return "".join(key.split()), value.strip()


@dataclass(frozen=True)
class Section:
    """A section of a ``.cfg``: its header and all that stands below it up to the next one.

    Where a key stands twice, the first one counts, as in Darknet.

    Attributes:
        header: The line with the name in brackets.
        body: The lines below it: options, comments and blank lines, in order.
        path: Where the section came from, for messages.

    Examples:
        >>> section = parse_cfg("[net]\\n[route]\\nlayers = -1, 8  # two\\n").sections[1]
        >>> section.integers("layers")
        (-1, 8)
        >>> section.with_option("layers", "-1, 7").body[0].text
        'layers = -1, 7  # two\\n'
    """

    header: Line
    body: tuple[Line, ...] = ()
    path: str = field(default="<text>", compare=False)

    @property
    def written_name(self) -> str:
        """The name in the header, as the file spells it."""
        return "".join(self.header.text.split()).lstrip("\ufeff")[1:-1]

    @property
    def name(self) -> str:
        """The name of the section, with Darknet's short forms (``conv``, ``max``, ...) written out."""
        return ALIASES.get(self.written_name, self.written_name)

    @property
    def line(self) -> int:
        """The line number of the header."""
        return self.header.number

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the section, in order, doubles included."""
        return tuple(line.option[0] for line in self.body if line.option is not None)

    @cached_property
    def _options(self) -> dict[str, tuple[int, str]]:
        """Key -> (index into the body, value), of the first line of each key."""
        options: dict[str, tuple[int, str]] = {}
        for index, line in enumerate(self.body):
            if line.option is not None:
                options.setdefault(line.option[0], (index, line.option[1]))
        return options

    def __contains__(self, key: object) -> bool:
        return key in self._options

    def error(self, message: str, key: str | None = None) -> CfgError:
        """Returns the error that says ``message`` of this section, or of its option ``key`` where that is present."""
        if key is None or key not in self:
            return CfgError(f"{self.path}:{self.line}: [{self.written_name}]: {message}")
        index, value = self._options[key]
        place = f"{self.path}:{self.body[index].number}: [{self.written_name}]"
        return CfgError(f"{place} {key}={value if len(value) <= _SHOWN else value[:_SHOWN] + '...'}: {message}")

    def text(self, key: str, default: str | None = None) -> str:
        """Returns the value of ``key`` as text, without white space.

        Raises:
            CfgError: If ``key`` is absent and there is no ``default``.
        """
        if key in self:
            return "".join(self._options[key][1].split())
        if default is None:
            raise self.error(f"no {key}=; expected one")
        return default

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """Returns the value of ``key``, which must be one of ``choices``.

        Raises:
            CfgError: If it is another word.
        """
        value, choices = self.text(key, default), sorted(choices)
        if value not in choices:
            raise self.error(f"expected one of: {', '.join(choices)}{suggestion(value, choices)}", key)
        return value

    def integer(self, key: str, default: int | None = None, *, minimum: int | None = None) -> int:
        """Returns the value of ``key`` as an integer of at least ``minimum``.

        Raises:
            CfgError: If it is absent without a ``default``, no integer of 32 bits as Darknet's are, or below
                ``minimum``.
        """
        if key not in self and default is not None:
            return default
        wanted = "an integer" if minimum is None else f"an integer of at least {minimum}"
        values = self._integers(key, wanted)
        if len(values) != 1 or (minimum is not None and values[0] < minimum):
            raise self.error(f"expected {wanted}", key)
        return values[0]

    def integers(self, key: str) -> tuple[int, ...]:
        """Returns the value of ``key`` as integers that commas part.

        Raises:
            CfgError: If it is absent or holds anything else.
        """
        return self._integers(key, "integers parted by commas")

    def flag(self, key: str) -> bool:
        """Returns whether ``key`` is there and not 0.

        Raises:
            CfgError: If it is no integer.
        """
        return self.integer(key, 0) != 0

    def number(self, key: str, default: float | None = None) -> float:
        """Returns the value of ``key`` as a finite number.

        Raises:
            CfgError: If it is absent without a ``default``, or no number.
        """
        if key not in self and default is not None:
            return default
        values = self._numbers(key, "a number")
        if len(values) != 1:
            raise self.error("expected a number", key)
        return values[0]

    def numbers(self, key: str) -> tuple[float, ...]:
        """Returns the value of ``key`` as numbers that commas part.

        Raises:
            CfgError: If it is absent or holds anything else.
        """
        return self._numbers(key, "numbers parted by commas")

    def with_option(self, key: str, value: object) -> Section:
        """Returns this section with ``key`` set to ``value``: in its place and spacing, or behind the last option."""
        if key in self:
            index, _ = self._options[key]
            changed = replace(self.body[index], text=_with_value(self.body[index].text, str(value)))
            return replace(self, body=(*self.body[:index], changed, *self.body[index + 1 :]))
        place = 1 + max((index for index, line in enumerate(self.body) if line.option is not None), default=-1)
        end = self.header.end or "\n"
        lines = [self.header, *self.body[:place]]
        if lines[-1].end:
            lines.append(Line(f"{key}={value}{end}"))
        else:  # the file ends here, without a line end: that stays so
            lines[-1] = replace(lines[-1], text=lines[-1].text + end)
            lines.append(Line(f"{key}={value}"))
        return replace(self, header=lines[0], body=(*lines[1:], *self.body[place:]))

    def _integers(self, key: str, wanted: str) -> tuple[int, ...]:
        pieces = _pieces(self.text(key))
        if not all(re.fullmatch(r"[+-]?[0-9]+", piece) for piece in pieces):
            raise self.error(f"expected {wanted}", key)
        if not all(len(piece) <= _DIGITS and abs(int(piece)) < _BEYOND for piece in pieces):
            raise self.error(f"expected {wanted}, below 2^31", key)
        return tuple(map(int, pieces))

    def _numbers(self, key: str, wanted: str) -> tuple[float, ...]:
        try:
            values = tuple(map(parse_number, _pieces(self.text(key))))
        except ValueError:
            values = (math.nan,)
        if not all(map(math.isfinite, values)):
            raise self.error(f"expected {wanted}", key)
        return values


@dataclass(frozen=True)
class Cfg:
    """A ``.cfg`` file.

    Attributes:
        sections: ``[net]`` first, then one a layer.
        preamble: The lines above the first section.
        path: Where it came from, for messages; not part of equality.
    """

    sections: tuple[Section, ...]
    preamble: tuple[Line, ...] = ()
    path: str = field(default="<text>", compare=False)

    @property
    def net(self) -> Section:
        """The first section, which describes the input."""
        return self.sections[0]

    @property
    def layers(self) -> tuple[Section, ...]:
        """The sections of the layers: ``layers[i]`` is Darknet's layer ``i``."""
        return self.sections[1:]

    def with_layer(self, index: int, section: Section) -> Cfg:
        """Returns this file with the section of layer ``index`` replaced."""
        return replace(self, sections=(*self.sections[: index + 1], section, *self.sections[index + 2 :]))

    def with_option(self, index: int, key: str, value: object) -> Cfg:
        """Returns this file with an option of layer ``index`` set; index -1 is ``[net]``.

        Examples:
            >>> write_cfg(parse_cfg("[net]\\nwidth=416\\n").with_option(-1, "width", 320))
            '[net]\\nwidth=320\\n'
        """
        return self.with_layer(index, self.sections[index + 1].with_option(key, value))


def parse_cfg(text_or_path: str | Path, *, warn: bool = True) -> Cfg:
    """Reads a ``.cfg``.

    Args:
        text_or_path: A path, or the text itself: a string with a line end or a bracket in front.
        warn: Warn of keys that Darknet does not know. Forks train with some; they are not used, and kept.

    Returns:
        The file, complete: ``write_cfg(parse_cfg(text)) == text``.

    Raises:
        CfgError: If the file cannot be read, is not UTF-8 outside its comments, does not begin with ``[net]``, or
            holds a section that Darknet does not know or a key that is misspelt; the message gives file, line, section
            and what was expected.
    """
    if isinstance(text_or_path, str) and ("\n" in text_or_path or text_or_path.lstrip().startswith("[")):
        return _parse(text_or_path, "<text>", warn)
    return _parse(read_cfg_text(Path(text_or_path)), str(text_or_path), warn)


def write_cfg(cfg: Cfg) -> str:
    """Returns the text of ``cfg``: what was parsed, with the options that were set since."""
    lines = list(cfg.preamble)
    for section in cfg.sections:
        lines += [section.header, *section.body]
    return "".join(line.text for line in lines)


def _parse(text: str, path: str, warn: bool) -> Cfg:
    lines = [Line(part, number) for number, part in enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), start=1)]
    starts = [index for index, line in enumerate(lines) if line.bare.lstrip("\ufeff").startswith("[")]
    check_limit("sections", len(starts), path, CfgError)
    preamble = tuple(lines[: starts[0]]) if starts else tuple(lines)
    for line in preamble:
        if line.option is not None and line.bare != "\ufeff":
            raise CfgError(f"{path}:{line.number}: {line.bare!r} stands before any section; expected [net] first")
    if not starts:
        raise CfgError(f"{path}: holds no section; expected [net] and the sections of the layers")
    sections = tuple(
        Section(lines[start], tuple(lines[start + 1 : stop]), path)
        for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True)
    )
    for section in sections:
        _check_section(section, warn)
    _check_order(sections)
    return Cfg(sections, preamble, path)


def _check_order(sections: Sequence[Section]) -> None:
    if sections[0].name != "net":
        raise sections[0].error("expected [net] as the first section")
    for section in sections[1:]:
        if section.name == "net":
            raise section.error(f"a second [net]; the first stands at line {sections[0].line}")


def _check_section(section: Section, warn: bool) -> None:
    header = section.header.bare.lstrip("\ufeff")
    if not header.endswith("]"):
        raise CfgError(f"{section.path}:{section.line}: {header!r}: expected ] at the end of a section's name")
    if section.name not in KNOWN_KEYS and section.name not in UNSUPPORTED:
        names = [*KNOWN_KEYS, *UNSUPPORTED, *ALIASES]
        raise section.error(f"unknown section{suggestion(section.name, names)}; expected one that Darknet knows")
    for line in section.body:
        if line.option is not None and "=" not in line.bare:
            place = f"{section.path}:{line.number}: [{section.written_name}]"
            raise CfgError(f"{place}: {line.bare!r}: expected key=value, a comment or a section")
    check_keys(section, warn=warn)


def _pieces(value: str) -> list[str]:
    """The parts between commas, up to a comment; Darknet's number readers stop there as well."""
    return re.split("[#;]", value, maxsplit=1)[0].split(",")


def _with_value(text: str, value: str) -> str:
    """``text`` of an option with another value; spacing, comment and line end stay."""
    before, _, after = text.partition("=")
    parts = re.fullmatch(r"([ \t]*)(.*?)([ \t]*(?:[#;].*?)?)([ \t]*\r?\n?)", after, flags=re.DOTALL)
    assert parts is not None
    return f"{before}={parts[1] if parts[2] else ''}{value}{parts[3]}{parts[4]}"
