"""What the README and the docs say runs; where their links lead is looked at in `tests/documentation`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from sapwood.cases import parse_cases
from sapwood.cli.app import app
from sapwood.cli.steps import commands
from sapwood.errors import EngineMissingError
from sapwood.recipe import read_recipe
from sapwood.runtime.engine import instruction_set

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "torch.Size([8, 3, 3, 3]) True"


def test_the_python_of_the_page_on_pruning_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "pruning.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "pruning.md", "exec"), names)


def test_the_commands_of_the_readme_are_verbs_and_targets() -> None:
    text = "".join((REPOSITORY / page).read_text() for page in ("README.md", "docs/pruning.md"))
    help_of = (REPOSITORY / "src" / "sapwood" / "cli" / "app.py").read_text()
    verbs = set(re.findall(r"^sapwood\s+(\w+)", text, re.MULTILINE))
    assert verbs
    assert all(f'app.command("{verb}", ' in help_of for verb in verbs)
    targets = set(re.findall(r"^make (\w+)", text, re.MULTILINE))
    makefile = (REPOSITORY / "Makefile").read_text()
    assert targets == {"demo", "docs", "test"}
    assert all(f"\n{target}: " in makefile for target in targets)


def test_the_python_of_the_page_on_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "training.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "training.md", "exec"), {})
    assert (tmp_path / "runs" / "line" / "metrics.jsonl").is_file()


def test_the_recipe_of_the_page_on_recipes_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "recipes.md").read_text(), re.DOTALL)
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    recipe = read_recipe(path)
    assert len(commands(recipe, tmp_path, typer.main.get_group(app))) == 7


def test_the_python_of_the_page_on_budgets_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "budget.md").read_text(), re.DOTALL)
    assert "assert pruned.allocation.kept[0] >= 8" in code  # the page's own check, which running it makes
    exec(compile(code, "budget.md", "exec"), {})


def test_the_python_of_the_page_on_recovery_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "recovery.md").read_text(), re.DOTALL)
    code = "".join(blocks)
    assert len(blocks) == 3
    assert "assert all(layer.error_after <= layer.error_before" in code
    exec(compile(code, "recovery.md", "exec"), {})


def test_the_python_and_the_rows_of_the_page_on_int8_are_right() -> None:
    pytest.importorskip("onnxruntime.quantization", reason="needs pip install sapwood[int8]")
    page = (REPOSITORY / "docs" / "int8.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "assert (found - wanted).abs().max() <" in code
    exec(compile(code, "int8.md", "exec"), {})
    (rows,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert "dense int8" in {row.name for row in parse_cases(rows, "int8.md")}


def test_the_python_of_the_page_on_the_engine_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        instruction_set()
    except EngineMissingError as error:
        pytest.skip(str(error))
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "engine.md").read_text(), re.DOTALL)
    exec(compile(code, "engine.md", "exec"), {})
    assert "layer4.1.conv2" in capsys.readouterr().out
    assert (tmp_path / "fast" / "weights.safetensors").is_file()
