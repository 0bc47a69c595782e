"""Formulas as MathML, which browsers draw themselves: the site loads nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def setup(app: Any) -> None:
    """Makes ``mathml`` a name of ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _inline(translator: Any, node: Any) -> None:
    _draw(translator, node, as_block=False)


def _block(translator: Any, node: Any) -> None:
    _draw(translator, node, as_block=True)


def _draw(translator: Any, node: Any, *, as_block: bool) -> None:
    """Puts the formula there; one that docutils cannot read ends the build, with its text.

    How large a bracket is, browsers see by themselves; what an accent covers, docutils is told by braces.
    """
    text = re.sub(r"\\[Bb]igg?[lr]?(?![a-z])", "", node.astext())
    text = re.sub(r"(\\(?:hat|bar|tilde)) (\w)(?=[_^])", r"{\1 \2}", text)
    translator.body.append(tex2mathml(text, as_block=as_block))
    raise nodes.SkipNode
