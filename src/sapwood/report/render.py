"""A comparison's record -> one self-contained HTML page: no scripts, no requests, figures as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sapwood.report import findings, plots, view
from sapwood.report.plots.layers import used_kinds
from sapwood.report.record import read_record


def render_compare(record: Mapping[str, Any]) -> str:
    """Builds the page of a comparison from its JSON record alone.

    Args:
        record: What :func:`sapwood.pipeline.compare` returned, or `compare.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    comparison = read_record(record)
    environment = _environment()
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    return environment.get_template("compare.html.j2").render(
        comparison=comparison,
        style=Markup(style),
        headline=findings.headline(comparison),
        findings=findings.findings(comparison),
        facts=view.facts(comparison),
        metrics=view.metric_names(comparison),
        groups=view.row_groups(comparison),
        accuracy=plots.accuracy_plot(comparison),
        latency=plots.latency_plot(comparison),
        layers=plots.layer_plots(comparison),
        layer_kinds=used_kinds(comparison),
        layer_table=view.layer_table(comparison),
        per_class=view.per_class_table(comparison),
        pictures=plots.picture_rows(comparison),
        shares=view.time_shares(comparison),
        conditions=view.conditions(comparison),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("sapwood.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
