"""A YAML file of cases -> rows, each fault named by file, line, row and field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sapwood.cases.rows import ROW_KINDS, CaseRow
from sapwood.errors import ConfigError
from sapwood.meant import meant_name, others_of
from sapwood.reading import parse_yaml, read_text, reading, shown

BASELINE = "baseline"
"""The name of the unpruned network's row, which every comparison has and no file may give to another."""


def read_cases(path: str | Path) -> tuple[CaseRow, ...]:
    """Reads the rows of a cases file.

    Args:
        path: A YAML file: a list of mappings. Lists of ``sparsity``, ``params`` or ``macs`` stand for a row
            each; a ``mask_file`` is looked for beside the file.

    Returns:
        The rows in the file's order, each with a name of its own.

    Raises:
        ConfigError: If the file cannot be read, is not such a list, or a row has an unknown kind, an unknown field or a
            value outside its bounds, or two rows have one name.
    """
    path = Path(path)
    text = read_text(path, "a YAML file of cases", ConfigError, limited_by="yaml_bytes")
    return parse_cases(text, str(path), folder=path.parent)


def default_cases(name: str = "practitioner") -> tuple[CaseRow, ...]:
    """Returns the rows of a table that comes with Sapwood.

    Examples:
        >>> [row.name for row in default_cases()][:3]
        ['global L1 · conv · 0.2', 'global L1 · conv · 0.5', 'global L1 · conv · 0.7']
    """
    return parse_cases(default_text(name), f"{name}.yaml")


def default_text(name: str = "practitioner") -> str:
    """Returns the file of a table that comes with Sapwood: an example of every field."""
    return (resources.files("sapwood.cases") / f"{name}.yaml").read_text(encoding="utf-8")


def parse_cases(text: str, where: str, *, folder: Path | None = None) -> tuple[CaseRow, ...]:
    """Reads rows from YAML text.

    Args:
        text: A YAML list of mappings.
        where: What messages call the text.
        folder: Where relative ``mask_file`` names start.

    Raises:
        ConfigError: As for :func:`read_cases`.

    Examples:
        >>> [row.name for row in parse_cases("[{method: ln_structured, sparsity: [0.1, 0.2]}]", "cases.yaml")]
        ['structured L2 · conv · 0.1', 'structured L2 · conv · 0.2']
    """
    raw_rows, lines = _load(text, where)
    rows: list[CaseRow] = []
    for number, (raw, line) in enumerate(zip(raw_rows, lines, strict=True), start=1):
        origin = f"{where} line {line} (row {number})"
        rows += [_build(single, origin, folder) for single in _sweep(raw, origin)]
    return named_rows(rows)


def named_rows(rows: Sequence[CaseRow]) -> tuple[CaseRow, ...]:
    """Returns the rows with family and name filled in where they have none.

    Raises:
        ConfigError: If two rows have one name, or one has the unpruned network's.
    """
    named = tuple(_named(row) for row in rows)
    _check_names(named)
    return named


def _load(text: str, where: str) -> tuple[Sequence[Any], Sequence[int]]:
    """The list a YAML text holds, and the line each entry starts at."""
    read = parse_yaml(text, where, "a list of cases", ConfigError)
    if not isinstance(read.value, list) or not read.value:
        came = "nothing" if read.value is None else f"{type(read.value).__name__} {_short(read.value)}"
        raise ConfigError(f"{where}: got {came}; expected a list with a mapping a case, as `- method: ln_structured`")
    return read.value, read.lines


def _sweep(raw: Any, origin: str) -> list[Mapping[str, Any]]:
    """The row itself, or a row for each entry where its swept field is a list."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{origin}: got {_short(raw)}; expected a mapping, as `method: ln_structured`")
    kind = _kind(raw, origin)
    field = next((one for one in (kind.sweep, *kind.also_sweep) if isinstance(raw.get(one), list)), None)
    if field is None:
        return [raw]
    values = raw[field]
    if not values:
        raise ConfigError(f"{origin}, field {field}: got an empty list; expected a number or a list of numbers")
    return [{**raw, **_sweep_names(raw, value), field: value} for value in values]


def _sweep_names(raw: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """A given name with the value behind it; rows without one get theirs later."""
    if "name" not in raw:
        return {}
    return {"family": raw.get("family", raw["name"]), "name": f"{raw['name']} · {value}"}


def _kind(raw: Mapping[str, Any], origin: str) -> type[CaseRow]:
    kind = raw.get("kind", "mask")
    if not isinstance(kind, str) or kind not in ROW_KINDS:
        meant = ROW_KINDS.meant(kind)
        raise ConfigError(f"{origin}, field kind: got {_short(kind)}; expected one of: {', '.join(ROW_KINDS)}{meant}")
    return ROW_KINDS[kind]


def _build(raw: Mapping[str, Any], origin: str, folder: Path | None) -> CaseRow:
    row_type = _kind(raw, origin)
    if "origin" in raw:
        raise ConfigError(f"{origin}, field origin: {_expected_fields(row_type)}")
    with reading(origin, "the fields of a case", ConfigError):
        try:
            row = row_type.model_validate({**raw, "origin": origin})
        except ValidationError as error:
            raise ConfigError(f"{origin}, {_explain(error, row_type)}") from None
    return _beside(_named(row), folder)


def _named(row: CaseRow) -> CaseRow:
    """The row with its family and name filled in."""
    family = row.family or row.name or row.default_family()
    level = row.asked()
    return row.model_copy(
        update={"family": family, "name": row.name or (family if level is None else f"{family} · {level:g}")}
    )


def _beside(row: CaseRow, folder: Path | None) -> CaseRow:
    """The row with the files that it names looked for in ``folder``."""
    if folder is None:
        return row
    return row.model_copy(update={field: str(folder / path) for field, path in row.files().items()})


def _check_names(rows: Sequence[CaseRow]) -> None:
    origins: dict[str, str] = {}
    for row in rows:
        if row.name == BASELINE:
            raise ConfigError(f"{_origin(row)}, field name: {BASELINE!r} is the unpruned network's; expected another")
        if row.name in origins:
            raise ConfigError(
                f"{_origin(row)}: a second case named {row.name!r} (the first is {origins[row.name]}); "
                "expected each case once, or a name of its own"
            )
        origins[row.name] = _origin(row)


def _origin(row: CaseRow) -> str:
    return row.origin or f"case {row.name!r}"


def _explain(error: ValidationError, row_type: type[CaseRow]) -> str:
    """The first fault of a row: the field, what came, what was expected."""
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        meant = meant_name(field, row_type.model_fields, others_of(row_type.model_fields))
        return f"field {field}: {_expected_fields(row_type)}{meant}"
    if fault["type"] == "missing":
        return f"field {field}: missing; expected it in every row of kind {row_type.model_fields['kind'].default}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    return f"field {field}: got {_short(fault['input'])}; expected {message}"


def _expected_fields(row_type: type[CaseRow]) -> str:
    known = [name for name in row_type.model_fields if name != "origin"]
    return f"unknown; expected one of: {', '.join(known)}"


def _short(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 60 else text[:57] + "..."
