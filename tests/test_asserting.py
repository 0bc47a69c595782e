"""Every test asserts something, itself or by a helper, and not only where a condition happens to hold."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CHECKS = frozenset({"raises", "warns", "fail"})
"""What pytest has for it; names that begin with ``assert_`` are NumPy's and PyTorch's."""


def called(node: ast.AST) -> Iterator[str]:
    """The names of the functions that a piece of code calls, lambdas and functions inside of it as well."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call):
            yield one.func.attr if isinstance(one.func, ast.Attribute) else getattr(one.func, "id", "")


def checks(node: ast.AST, helpers: Iterable[str]) -> bool:
    """Whether a piece of code checks something."""
    if any(isinstance(one, ast.Assert) for one in ast.walk(node)):
        return True
    return any(name in CHECKS or name.startswith("assert_") or name in helpers for name in called(node))


def always_checks(body: list[ast.stmt], helpers: Iterable[str]) -> bool:
    """Whether the statements check something in any case: not in a branch alone, or where an error is caught."""
    return any(_statement_checks(statement, helpers) for statement in body)


def _statement_checks(statement: ast.stmt, helpers: Iterable[str]) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return False
    if isinstance(statement, ast.If):
        return bool(statement.orelse) and all(
            always_checks(branch, helpers) for branch in (statement.body, statement.orelse)
        )
    if isinstance(statement, ast.Try):
        return any(always_checks(part, helpers) for part in (statement.body, statement.orelse, statement.finalbody))
    if isinstance(statement, ast.For | ast.While):
        return always_checks(statement.body, helpers)
    if isinstance(statement, ast.With):
        return any(checks(item, helpers) for item in statement.items) or always_checks(statement.body, helpers)
    return checks(statement, helpers)


def functions_of(tree: ast.AST) -> dict[str, list[ast.FunctionDef]]:
    """The functions of a file by name, those of classes as well."""
    found: dict[str, list[ast.FunctionDef]] = defaultdict(list)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            found[node.name].append(node)
        elif isinstance(node, ast.ClassDef):
            for name, methods in functions_of(node).items():
                found[name] += methods
    return found


def helpers_of(functions: Mapping[str, list[ast.FunctionDef]], shared: Iterable[str] = ()) -> set[str]:
    """The functions of a file that check something, also by what they call, and shared ones of other names."""
    found = set(shared) - set(functions)
    while True:
        more = {
            name
            for name, definitions in functions.items()
            if not name.startswith("test_") and all(always_checks(one.body, found) for one in definitions)
        }
        if more <= found:
            return found
        found |= more


def without_a_check(sources: Mapping[str, str]) -> list[str]:
    """The tests of some files, name -> code, that check nothing; helpers are a file's own, or of ``support``."""
    files = {file: functions_of(ast.parse(code)) for file, code in sources.items()}
    shared = {name for file, found in files.items() if file.startswith("support/") for name in helpers_of(found)}
    found = []
    for file, functions in files.items():
        helpers = helpers_of(functions, shared)
        tests = [one for name, named in functions.items() if name.startswith("test_") for one in named]
        found += [f"{file}:{one.lineno} {one.name}" for one in tests if not always_checks(one.body, helpers)]
    return found


def test_every_test_asserts_something() -> None:
    sources = {str(path.relative_to(TESTS)): path.read_text() for path in sorted(TESTS.rglob("*.py"))}
    assert len(sources) > 100
    assert without_a_check(sources) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("assert f(1)", False),
        ("f(1)", True),
        ("with pytest.raises(ValueError): f(1)", False),
        ("np.testing.assert_array_equal(a, b)", False),
        ("for one in f(): assert one", False),
        ("if f(): assert g()", True),
        ("if f(): assert g()\n    else: check(2)", False),
        ("check(1)", False),
        ("deeper(1)", False),
        ("hardly(1)", True),
        ("def inner(): assert f()", True),
        ("try: f()\n    except ValueError: assert g()", True),
        ("with open(f) as g: assert g", False),
    ],
)
def test_the_scan_sees_tests_that_check_nothing(code: str, found: bool) -> None:
    helpers = """
def check(x): assert x
def deeper(x): check(x)
def hardly(x):
    if x: assert x
"""
    assert (
        without_a_check({"a.py": f"def test_one():\n    {code}", "support/b.py": helpers})
        == ["a.py:1 test_one"] * found
    )
