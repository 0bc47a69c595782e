"""What can be named: every registry as a table."""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from reference_pages.markdown import MADE, code, first_paragraph, markdown, table
from sapwood.allocation import ALLOCATORS
from sapwood.calibration import STATISTICS
from sapwood.criteria import CRITERIA
from sapwood.data import BUILT_IN, FORMATS
from sapwood.export import EXPORTERS
from sapwood.masks import BUDGETS, METHODS
from sapwood.models import LOADERS
from sapwood.models.darknet.build import BUILDERS
from sapwood.ops import RULES
from sapwood.registry import Registry
from sapwood.runtime import RUNTIMES, is_exact
from sapwood.tasks import TASKS
from sapwood.training.regularizers import REGULARIZERS
from sapwood.types import RecoverMethod

INTRODUCTION = """# What can be named

Each table is what the program holds: criteria, exporters, runtimes and so on, by the name that options, files and
functions take. Where a group of entry points is named, other packages add to the table ([plugins](../plugins.md)).

"""

RECOVERIES = {
    "none": "Nothing: the network as it was cut.",
    "batchnorm": "Mean and variance of every BatchNorm, measured anew. No weight changes.",
    "reconstruct": "Least squares, layer by layer, against what the dense network has at the same places.",
    "distill": "Reconstruction, then steps of Adam towards the dense network's outputs.",
}
"""What ``--recover`` takes; a test holds this against the type."""


@dataclass(frozen=True)
class Listing:
    """One table.

    Attributes:
        title: Its heading.
        where: The option or function that takes the names.
        registry: What is listed.
        columns: Headings behind the name.
        row: The cells behind a name.
    """

    title: str
    where: str
    registry: Registry[Any]
    columns: Sequence[str] = ("what it does",)
    row: Callable[[str, Any], Sequence[str]] = lambda name, entry: [described(entry)]

    def text(self) -> str:
        """The section."""
        rows = [[code(name), *self.row(name, self.registry[name])] for name in self.registry]
        added = f" Entry points: `{self.registry.entry_points}`." if self.registry.entry_points else ""
        return f"## {self.title}\n\n{self.where}{added}\n\n{table(['name', *self.columns], rows)}\n"


def described(entry: object) -> str:
    """What an entry says of itself: its docstring, or that of its module."""
    text = first_paragraph(entry if inspect.isclass(entry) or inspect.isroutine(entry) else type(entry))
    return text or markdown((sys.modules[entry.__module__].__doc__ or "").split("\n\n")[0])


def _criterion(name: str, entry: Any) -> list[str]:
    home = inspect.getdoc(sys.modules[entry.__module__]) or ""
    text = markdown(home.split("\n\n")[0]) if name in {"l1", "l2"} else described(entry)
    return [
        text,
        ", ".join(map(code, sorted(entry.needs))) or "weights only",
        "yes" if entry.scores_weights else "no",
        "yes" if entry.loss_units else "no",
    ]


def _exporter(name: str, entry: Any) -> list[str]:
    return [code(entry.suffix) or "a folder", "yes" if entry.has_batch else "no", _home(entry)]


def _runtime(name: str, entry: Any) -> list[str]:
    return ["yes" if entry.tells_layers else "no", "float32" if is_exact(entry) else "int8", _home(entry)]


def _home(entry: object) -> str:
    """What the module of an entry says it is."""
    return markdown((inspect.getdoc(sys.modules[type(entry).__module__]) or "").split("\n\n")[0])


def _loader(name: str, entry: Any) -> list[str]:
    return [", ".join(code(one) if " " not in one else one for one in entry.form.split(", "))]


LISTINGS = [
    Listing(
        "Criteria", "What a channel is worth: `--criterion`, `sapwood.criteria.make_criterion`.", CRITERIA,
        ("what it does", "statistics that it needs", "scores single weights", "in units of the loss"), _criterion,
    ),
    Listing("Allocators", "How a budget is shared out: `--allocator`.", ALLOCATORS),
    Listing("Mask methods", "`sapwood mask --method`.", METHODS),
    Listing("Budgets of masks", "How layers share the zeros of `scored`: `--budget`.", BUDGETS),
    Listing("Regularizers", "Sparse training: `sapwood train --sparse`.", REGULARIZERS),
    Listing(
        "Runtimes", "`--runtime`.", RUNTIMES, ("tells the time of each layer", "computes in", "what it is"), _runtime
    ),
    Listing(
        "Exporters", "`sapwood export --format`.", EXPORTERS,
        ("ending", "takes `--dynamic-batch`", "what it is"), _exporter,
    ),
    Listing("Model specifications", "What stands for MODEL.", LOADERS, ("how it is written",), _loader),
    Listing("Tasks", "What accuracy and loss mean.", TASKS),
    Listing(
        "Data formats", "Recognised by what the folder holds ([pictures and annotations](../data.md)).", FORMATS,
        ("how it looks",), lambda name, entry: [code(entry.layout)],
    ),
    Listing("Built-in data sets", "`--data`.", BUILT_IN),
    Listing("Statistics", "What criteria may ask for (`needs`).", STATISTICS),
]  # fmt: skip


def registries_page() -> str:
    """The page: a section a registry, the recoveries, and the operators that have a rule."""
    recoveries = [[code(name), RECOVERIES[name]] for name in get_args(RecoverMethod)]
    parts = [MADE, INTRODUCTION, *(one.text() for one in LISTINGS)]
    parts.append(f"## Recoveries\n\n`--recover`.\n\n{table(['name', 'what it does'], recoveries)}\n")
    sections = ", ".join(code(f"[{name}]") for name in BUILDERS)
    parts.append(f"## Darknet sections\n\nWhat a `.cfg` may hold behind `[net]`: {sections}.\n\n")
    return "".join([*parts, _operators()])


def _operators() -> str:
    """Every operator with a rule, by the family whose file it stands in."""
    families: dict[str, list[str]] = defaultdict(list)
    for name in RULES:
        families[RULES[name].__module__].append(name)
    rows = [
        [code(module.rpartition(".")[2]), markdown((inspect.getdoc(sys.modules[module]) or "").split("\n\n")[0]), names]
        for module, listed in sorted(families.items())
        for names in [", ".join(map(code, sorted(listed)))]
    ]
    return (
        f"## Operator rules\n\n{len(RULES)} operators of PyTorch have a rule, which says how their indices hang "
        f"together. What any other operator reads stays whole, with its name for the reason. Entry points: "
        f"`{RULES.entry_points}`.\n\n{table(['family', 'what it is about', 'operators'], rows)}"
    )
