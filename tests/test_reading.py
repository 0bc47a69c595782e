"""One way to read a file: every damage is one of Sapwood's errors, with the file and the place."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sapwood.errors import ConfigError, DataError
from sapwood.limits import LIMITS, check_limit, limit, variable
from sapwood.pickled import read_pickled
from sapwood.reading import (
    naming,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_safetensors,
    read_text,
    read_yaml,
    reading,
    shown,
)

READERS = (read_text, read_json, read_yaml, read_safetensors, read_pickled, read_bytes)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_what_is_no_file_is_named(reader, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.here: no such file; expected labels"):
        reader(tmp_path / "nothing.here", "labels", DataError)
    with pytest.raises(DataError, match=r": is a directory; expected labels"):
        reader(tmp_path, "labels", DataError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_a_pipe_is_refused_at_once(reader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe, a socket or a device; expected labels"):
        reader(tmp_path / "pipe", "labels", DataError)


@pytest.mark.parametrize("reader", [read_text, read_json, read_yaml], ids=lambda reader: reader.__name__)
def test_bytes_that_are_no_text_are_named(reader, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match=r"a\.txt: is not UTF-8 text \(byte 2\); expected labels"):
        reader(tmp_path / "a.txt", "labels", DataError)


@pytest.mark.parametrize("reader", [read_safetensors, read_pickled], ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x02", b"\xff" * 100])
def test_damaged_tensors_are_named(reader, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.bin: .*; expected tensors"):
        reader(tmp_path / "a.bin", "tensors", DataError)


def test_a_byte_order_mark_and_line_ends_are_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(tmp_path / "a.txt", "text", DataError) == "a\nb\nc\n"


def bomb(levels: int, width: int = 10) -> str:
    """A list of lists of lists that an alias each makes ``width ** levels`` entries of."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


def test_aliases_count_for_what_they_stand_for() -> None:
    assert parse_yaml(bomb(2), "a.yaml", "options", DataError).value["a2"][9][9] == ["x"]
    with pytest.raises(DataError, match=r"a\.yaml: asks for [\d,]+ values .*SAPWOOD_MAX_YAML_NODES"):
        parse_yaml(bomb(40), "a.yaml", "options", DataError)


def test_merges_inside_each_other_are_refused_too() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 20)]
    with pytest.raises(DataError, match="SAPWOOD_MAX_YAML_NODES"):
        parse_yaml("\n".join(lines), "a.yaml", "options", DataError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", r"a\.yaml:1: holds itself through an alias; expected options"),
        ("a: 1\nb: 2\na: 3", r"a\.yaml:3: the key 'a' is there twice; expected options"),
        ("a: [1\nb: 2", r"a\.yaml:2: is not YAML \(.*\); expected options"),
        ("a: !!bool x", r"a\.yaml: is damaged, or something else \(KeyError: 'x'\); expected options"),
        ("a: !!timestamp x", r"a\.yaml: is damaged, or something else \(AttributeError"),
        ("a: 2001-99-99", r"a\.yaml: is damaged, or something else \(ValueError"),
        ("a: " + "1" * 5000, r"a\.yaml: is damaged, or something else \(ValueError"),
        ("[" * 5000, r"a\.yaml: is nested too deeply; expected options"),
        ("a: !!python/object/apply:os.getcwd []", r"a\.yaml:1: is not YAML \(could not determine a constructor"),
        ("? [1]\n: 2", r"a\.yaml:1: is not YAML \(found unhashable key\)"),
        ("\x00", r"a\.yaml: is not YAML"),
    ],
)
def test_every_fault_of_yaml_is_one_error(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_yaml(text, "a.yaml", "options", DataError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"a\.json:1: is not JSON \(.*\); expected a list"),
        ("[1,\n 2,\n x]", r"a\.json:3: is not JSON"),
        ("[" * 200_000, r"a\.json: is nested too deeply; expected a list"),
        ("1" * 5000, r"a\.json: is damaged, or something else \(ValueError"),
    ],
)
def test_every_fault_of_json_is_one_error(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_json(text, "a.json", "a list", DataError)


def test_lines_of_a_list_are_told() -> None:
    assert parse_yaml("- a\n-\n  b: 1\n- c\n", "a.yaml", "a list", DataError).lines == (1, 3, 4)
    assert parse_yaml("", "a.yaml", "a list", DataError).value is None


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_can_be_raised(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    too_much = LIMITS[name].default + 1
    check_limit(name, too_much - 1, "a file", DataError)
    with pytest.raises(DataError, match=f"{variable(name)} raises the limit"):
        check_limit(name, too_much, "a file", DataError)
    monkeypatch.setenv(variable(name), str(too_much))
    check_limit(name, too_much, "a file", DataError)


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "", "many", "9" * 30])
def test_a_limit_that_is_no_number_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPWOOD_MAX_CLASSES", text)
    with pytest.raises(ConfigError, match=r"SAPWOOD_MAX_CLASSES=.*: expected a positive whole number"):
        limit("classes")


def test_a_large_text_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    monkeypatch.setenv("SAPWOOD_MAX_TEXT_BYTES", "8")
    with pytest.raises(DataError, match=r"a\.json: asks for 9 bytes"):
        read_json(tmp_path / "a.json", "a list", DataError)


def test_memory_that_is_missing_is_no_damage() -> None:
    message = r"^a\.json: does not fit into memory; expected a list$"
    with pytest.raises(DataError, match=message), reading("a.json", "a list", DataError):
        raise MemoryError


def test_values_in_messages_are_short() -> None:
    assert shown("cat") == "'cat'"
    assert len(shown("x" * 10**6)) < 100
    assert len(shown([["x" * 1000] * 1000] * 1000)) < 300
    assert len(shown({number: number for number in range(1000)})) < 200
    assert shown(16**9000) == "a number of thousands of digits"


def test_an_error_that_names_no_file_gets_its_name() -> None:
    with pytest.raises(DataError, match=r"^a\.yaml: step 1: unknown verb$"), naming("a.yaml"):
        raise DataError("step 1: unknown verb")
    with pytest.raises(DataError, match=r"^a\.yaml:3: unknown verb$"), naming("a.yaml"):
        raise DataError("a.yaml:3: unknown verb")


def test_the_security_page_lists_every_limit() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(SAPWOOD_MAX_\w+)` \| ([\d,]+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(variable(name), f"{limit.default:,}", limit.meaning) for name, limit in LIMITS.items()]
