"""Cases files: what they may say, what the rows are called, and how a fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sapwood.cases import ROW_KINDS, CaseRow, MaskRow, default_cases, named_rows, parse_cases, read_cases
from sapwood.errors import ConfigError


def single(text: str) -> CaseRow:
    (row,) = parse_cases(text, "cases.yaml")
    return row


def only(text: str) -> MaskRow:
    row = single(text)
    assert isinstance(row, MaskRow)
    return row


def test_default_table_is_the_practitioners() -> None:
    rows = [row for row in default_cases() if isinstance(row, MaskRow)]
    assert [(row.method, row.scope, row.layers, row.sparsity) for row in rows] == [
        *[("l1_unstructured", "global", ("conv",), sparsity) for sparsity in (0.2, 0.5, 0.7, 0.95)],
        *[("l1_unstructured", "global", ("conv", "bn"), sparsity) for sparsity in (0.2, 0.5)],
        *[("l1_unstructured", "global", ("bn",), sparsity) for sparsity in (0.2, 0.5)],
        *[("ln_structured", "local", ("conv",), sparsity) for sparsity in (0.1, 0.2, 0.4, 0.5)],
    ]
    assert {(row.n, row.dim) for row in rows if row.method == "ln_structured"} == {(2.0, 0)}
    assert len({row.name for row in rows}) == len(rows)


def test_a_latency_is_a_fraction_or_a_time() -> None:
    rows = parse_cases("[{kind: prune, latency: 10ms}, {kind: prune, latency: 0.5}]", "cases.yaml")
    assert [(row.name, row.level()) for row in rows] == [
        ("channels removed · L2 · 10ms latency on torch", None),
        ("channels removed · L2 · latency kept on torch · 0.5", 0.5),
    ]


@pytest.mark.parametrize("given", ["[0.5, 10ms]", "[0.5, 0.6]", "10fps", "1.5", "0", "yes", "1..0ms"])
def test_other_latencies_are_refused(given: str) -> None:
    with pytest.raises(
        ConfigError, match=r"field latency: got .*; expected one fraction kept, in \(0, 1\], or one time"
    ):
        parse_cases(f"[{{kind: prune, latency: {given}}}]", "cases.yaml")


@pytest.mark.parametrize("goal", ["sparsity", "params", "macs"])
def test_a_list_of_any_goal_of_pruning_is_a_row_each(goal: str) -> None:
    rows = parse_cases(f"- {{kind: prune, {goal}: [0.5, 0.7]}}", "cases.yaml")
    assert [getattr(row, goal) for row in rows] == [0.5, 0.7]
    assert len({row.family for row in rows}) == 1
    with pytest.raises(ConfigError, match=rf"field {goal}: got an empty list; expected a number or a list of numbers"):
        parse_cases(f"- {{kind: prune, {goal}: []}}", "cases.yaml")


def test_a_list_of_sparsities_is_a_row_each_in_one_family() -> None:
    rows = parse_cases("- {method: l1_unstructured, sparsity: [0.1, 0.25]}", "cases.yaml")
    assert [row.name for row in rows] == ["per-layer L1 · conv · 0.1", "per-layer L1 · conv · 0.25"]
    assert {row.family for row in rows} == {"per-layer L1 · conv"}


def test_given_names_are_kept() -> None:
    assert only("- {name: mine, method: l1_unstructured, sparsity: 0.1}").name == "mine"
    rows = parse_cases("- {name: mine, method: l1_unstructured, sparsity: [0.1, 0.2]}", "cases.yaml")
    assert [(row.name, row.family) for row in rows] == [("mine · 0.1", "mine"), ("mine · 0.2", "mine")]


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        ("method: random_unstructured, scope: global, seed: 3", "global random · conv · seed 3"),
        ("method: ln_structured, n: 1, dim: 1, layers: [conv, linear]", "structured L1 · conv + linear · dim 1"),
        ("method: ln_structured, n: .inf", "structured Linf · conv"),
        ("method: random_structured, layers: bn", "structured random · BatchNorm"),
        ("method: l1_unstructured, pattern: 'layers.1*'", "per-layer L1 · conv · layers.1*"),
        ("method: scored, budget: erk, blocks: 2x1", "erk magnitude 2x1 · conv"),
        ("method: movement", "per-layer movement · conv"),
    ],
)
def test_generated_names_say_what_differs(fields: str, family: str) -> None:
    row = only(f"- {{{fields}, sparsity: 0.3}}")
    assert (row.family, row.name) == (family, f"{family} · 0.3")


def test_a_mask_file_lies_beside_the_cases_file(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text("- {method: custom_from_mask, mask_file: masks.npz}\n")
    (row,) = read_cases(file)
    assert isinstance(row, MaskRow)
    assert row.mask_file == str(tmp_path / "masks.npz")
    assert row.name == "masks of masks.npz · conv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cases\.yaml: got nothing; expected a list with a mapping a case"),
        ("[]", r"cases\.yaml: got list \[\]; expected a list with a mapping a case"),
        ("method: l1_unstructured", r"cases\.yaml: got dict .* expected a list with a mapping a case"),
        ("- [1, 2", r"cases\.yaml:1: is not YAML \(expected .*\); expected a list of cases"),
        ("- 5", r"cases\.yaml line 1 \(row 1\): got 5; expected a mapping"),
        (
            "- {method: l1_unstructured, sparsity: 0.5}\n\n- {method: l1_unstructured, sparsity: 1.5}",
            r"cases\.yaml line 3 \(row 2\), field sparsity: got 1\.5; expected less than 1$",
        ),
        ("- {method: a, sparsity: -0.1}", r"field sparsity: got -0\.1; expected greater than or equal to 0$"),
        ("- {method: a, sparsity: .nan}", r"field sparsity: got nan; expected a finite number$"),
        ("- {method: a, sparsity: half}", r"field sparsity: got 'half'; expected a valid number"),
        ("- {method: a, sparsity: [0.1, yes]}", r"field sparsity: got True; expected a number$"),
        ("- {method: a, sparsity: []}", r"field sparsity: got an empty list; expected a number or a list of numbers"),
        ("- {sparsity: 0.1, recover: batchnorm}", r"field method: missing; expected it in every row of kind mask"),
        ("- {sparsity: 0.1, method: a, recover: all}", r"field recover: got 'all'; expected 'none', 'batchnorm'"),
        ("- {sparsity: 0.1}", r"field method: missing; expected it in every row of kind mask"),
        ("- {method: a, amount: 0.1}", r"field amount: unknown; expected one of: kind, name, family, method, scope,"),
        ("- {method: a, origin: x}", r"field origin: unknown; expected one of: kind, name"),
        ("- {method: a, scope: all}", r"field scope: got 'all'; expected 'local' or 'global'"),
        ("- {method: scored, blocks: 2:4}", r"field blocks: got 124; expected a text; YAML reads 2:4 as a number, so"),
        ("- {method: a, n: 0}", r"field n: got 0; expected greater than 0"),
        ("- {method: a, layers: []}", r"field layers: got \[\]; expected .*at least 1 item"),
        ("- {kind: magic}", r"row 1\), field kind: got 'magic'; expected one of: compact, mask, model, prune"),
        ("- {name: baseline, method: a}", r"field name: 'baseline' is the unpruned network's; expected another"),
        (
            "- {method: a, sparsity: 0.1}\n- {method: a, sparsity: [0.2, 0.1]}",
            r"line 2 \(row 2\): a second case named 'per-layer a · conv · 0\.1' \(the first is cases\.yaml line 1",
        ),
    ],
)
def test_faults_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_cases(text, "cases.yaml")


def test_rows_made_in_python_are_named_too() -> None:
    row = MaskRow(method="ln_structured", sparsity=0.5)
    assert [named.name for named in named_rows([row])] == ["structured L2 · conv · 0.5"]
    with pytest.raises(
        ConfigError, match=r"case '.*': a second case named 'structured L2 · conv · 0\.5' \(the first is"
    ):
        named_rows([row, row])


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; expected a YAML file of cases"):
        read_cases(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"is a directory; expected a YAML file of cases"):
        read_cases(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("- {name: \xe9}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8 text \(byte 9\); expected a YAML file of cases"):
        read_cases(tmp_path / "latin.yaml")


@pytest.mark.parametrize("kind", list(ROW_KINDS))
def test_rows_round_trip_through_their_dump(kind: str) -> None:
    examples = {
        "mask": single("- {method: ln_structured, n: 1, dim: 1, sparsity: 0.4}"),
        "compact": single("- {kind: compact, method: ln_structured, exact: false, sparsity: 0.4}"),
        "model": single("- {kind: model, model: small, note: from afar}"),
        "prune": single("- {kind: prune, sparsity: 0.4, round_to: 8}"),
    }
    row = examples[kind]
    again = ROW_KINDS[kind].model_validate(row.model_dump(mode="json"))
    assert again.model_dump() == row.model_dump()
    assert "origin" not in row.model_dump()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ROWS = st.dictionaries(
    st.sampled_from(["kind", "method", "sparsity", "layers", "n", "name", "dim"]) | st.integers(),
    SCALARS | st.lists(SCALARS, max_size=3),
    max_size=4,
)


@given(st.lists(ROWS | SCALARS, max_size=3) | SCALARS)
def test_any_yaml_gives_rows_or_a_named_fault(value: object) -> None:
    message = ""
    rows: tuple[CaseRow, ...] = ()
    try:
        rows = parse_cases(yaml.safe_dump(value), "cases.yaml")
    except ConfigError as error:
        message = str(error)
    assert bool(rows) != message.startswith("cases.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- &a0 [x]\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
            r"cases\.yaml: asks for [\d,]+ values .*SAPWOOD_MAX_YAML_NODES",
        ),
        ("[" * 5000, r"cases\.yaml: is nested too deeply; expected a list of cases"),
        ("- &a {method: *a}", r"cases\.yaml:1: holds itself through an alias"),
        ("- {method: a, method: b}", r"cases\.yaml:1: the key 'method' is there twice"),
        ("- {method: !!float many}", r"cases\.yaml: is damaged, or something else \(ValueError"),
        (
            f"- {{method: a, dim: 0x{'f' * 9000}}}",
            r"field dim: got a number of .*; expected a number below 2\^63",
        ),
        (f"- {{method: a, sparsity: 0x{'f' * 9000}}}", r"cases\.yaml line 1 \(row 1\)"),
        (f"- {{kind: {'x' * 5000}}}", r"field kind: got 'x+\.\.\."),
        ("- {1: 2, method: a}", r"cases\.yaml line 1 \(row 1\)"),
        ("- {[a]: 2, method: a}", r"cases\.yaml:1: is not YAML"),
    ],
)
def test_damaged_and_hostile_files_are_errors_of_ours(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cases.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_cases(tmp_path / "cases.yaml")
    assert len(str(caught.value)) < 1000
