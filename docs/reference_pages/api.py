"""The Python interface: a page a public part, filled from docstrings by Sphinx."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import sapwood
from reference_pages.markdown import MADE, first_paragraph, table

INTRODUCTION = """# Python

`import sapwood` is enough: the functions below load on first use, and so do the parts (`sapwood.runtime.compile`).

"""


def api_pages() -> dict[str, str]:
    """Returns the page of the names at the top, and one for each part."""
    rows = [[f"[`sapwood.{part}`](api/{part}.md)", first_paragraph(getattr(sapwood, part))] for part in sapwood.PARTS]
    toc = "\n".join(f"api/{part}" for part in sapwood.PARTS)
    names = ["sapwood." + name for name in sapwood.__all__]
    top = "\n".join(_directive(name, getattr(sapwood, name.partition(".")[2])) for name in names)
    text = f"{MADE}{INTRODUCTION}{table(['part', 'what it holds'], rows)}\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    return {
        "api.md": f"{text}\n## The names at the top\n\n{top}",
        **{f"api/{part}.md": _part_page(part) for part in sapwood.PARTS},
    }


def public_names(part: str) -> list[str]:
    """The names that are described on the page of a part: what it offers, but for what is described elsewhere."""
    return [name for name, value in offered(part).items() if page_of(name, value) in (part, None)]


def offered(part: str) -> dict[str, Any]:
    """The functions and classes that a part offers; constants and modules are left to the sources."""
    module = importlib.import_module(f"sapwood.{part}")
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [name for name, value in vars(module).items() if _is_own(name, value, module.__name__)]
    values = {name: getattr(module, name) for name in listed}
    return {name: value for name, value in values.items() if _is_described(value)}


def page_of(name: str, value: Any) -> str | None:
    """Where a name is described: ``""`` for the top, the part that it is of, or None where no part owns it."""
    if name in sapwood.__all__:
        return ""
    home = value.__module__.split(".")[1] if "." in value.__module__ else ""
    return home if home in sapwood.PARTS and name in offered(home) else None


def _is_own(name: str, value: Any, module: str) -> bool:
    return not name.startswith("_") and getattr(value, "__module__", None) == module


def _is_described(value: Any) -> bool:
    return (inspect.isclass(value) or inspect.isroutine(value)) and bool(inspect.getdoc(value))


def _part_page(part: str) -> str:
    names = public_names(part)
    elsewhere = {name: page_of(name, value) for name, value in offered(part).items() if name not in names}
    parts = [f"{MADE}# sapwood.{part}\n", f"{first_paragraph(getattr(sapwood, part))}\n"]
    if elsewhere:
        links = [f"[`{name}`](../api{'/' if home else ''}{home}.md)" for name, home in elsewhere.items()]
        parts.append(f"Also here, and described elsewhere: {', '.join(links)}.\n")
    parts += [_directive(f"sapwood.{part}.{name}", getattr(getattr(sapwood, part), name)) for name in names]
    return "\n".join(parts)


def _directive(name: str, value: Any) -> str:
    """What has Sphinx put a docstring there; a class brings its public methods along."""
    if not inspect.isclass(value):
        return f"```{{eval-rst}}\n.. autofunction:: {name}\n```\n"
    kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    return f"```{{eval-rst}}\n.. {kind}:: {name}\n   :members:\n   :member-order: bysource\n```\n"
