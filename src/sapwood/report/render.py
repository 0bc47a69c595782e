"""A record -> one self-contained HTML page: a script of its own, no requests, figures as inline SVG.

The plots are ours: places in percent that a template draws, so that a page of a hundred marks has a few kB of them,
widens without its letters growing and can be read without its script. Libraries that make SVG (matplotlib) draw
letters as outlines of one size and know no dark mode; those that are scripts (Vega, Plotly) bring 1 to 4 MB to every
page, and show nothing without.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sapwood.report import (
    answers,
    bench_view,
    compiled,
    detected,
    evaluated,
    exported,
    findings,
    formats,
    masked,
    plots,
    pruned_findings,
    run_networks,
    run_view,
    shrinking,
    trained,
    verb_answers,
    verdict,
    view,
)
from sapwood.report.agreement import agreement_table, case_agreement_table
from sapwood.report.latency import inspect_latency_table, latency_table, time_rows
from sapwood.report.plots.layers import used_kinds
from sapwood.report.records import (
    AgreementRecord,
    BenchRecord,
    Comparison,
    Compiling,
    Detecting,
    EvaluationRecord,
    ExportRecord,
    Inspection,
    Losses,
    MadeBy,
    Masking,
    Pruning,
    RunRecord,
    TrainingRecord,
    WidthTimes,
    read_compiling,
    read_detecting,
    read_inspection,
    read_masking,
    read_pruning,
    read_record,
    read_run,
    read_training,
)
from sapwood.report.recovery import recovery_table
from sapwood.report.sensitivity import sensitivity_table
from sapwood.report.sheet import Sheet
from sapwood.report.widths import layer_widths_table, widths_table, widths_text


def render_compare(record: Comparison | Mapping[str, Any]) -> str:
    """Builds the page of a comparison from its JSON record alone.

    Args:
        record: What :func:`sapwood.comparing.compare` returned, or `compare.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    comparison = read_record(record)
    best, groups = answers.chosen(comparison), view.row_groups(comparison)
    emptiest = view.emptiest_of_use(comparison)
    return _render(
        "compare.html.j2",
        comparison=comparison,
        subject=view.subject_text(comparison),
        headline=verdict.headline(comparison),
        answers=answers.compare_answers(comparison),
        tradeoff=plots.tradeoff_plot(comparison),
        chosen_name=None if best is None else best.case.name,
        network=None if best is None else plots.compared_network(best.case, comparison),
        maps=() if emptiest is None else plots.zero_maps(emptiest),
        maps_of="" if emptiest is None else emptiest.name,
        findings=findings.findings(comparison),
        facts=view.facts(comparison),
        metrics=view.metric_names(comparison),
        groups=groups,
        engine=int(view.has_engine(comparison)),
        deployed=int(view.has_reference(comparison)),
        sure=any(row.sure for group in groups for row in group.rows),
        accuracies=plots.accuracy_plots(comparison),
        latency=plots.latency_plot(comparison),
        layers=plots.layer_plots(comparison),
        layer_kinds=used_kinds(comparison),
        layer_table=view.layer_table(comparison),
        agreement_table=case_agreement_table(comparison.agreement) if comparison.agreement else None,
        per_class=view.per_class_table(comparison),
        pictures=plots.picture_rows(comparison),
        shares=view.time_shares(comparison),
        conditions=view.conditions(comparison),
    )


def render_prune(record: Pruning | Mapping[str, Any]) -> str:
    """Builds the page of a pruned or compacted model from its JSON record alone.

    Args:
        record: What `sapwood prune --json` or `sapwood compact --json` printed, or `report.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    pruning = read_pruning(record)
    latency = pruning.latency
    return _render(
        "prune.html.j2",
        pruning=pruning,
        headline=pruned_findings.pruned_headline(pruning),
        findings=pruned_findings.pruned_findings(pruning),
        answers=verb_answers.prune_answers(pruning),
        sizes=shrinking.size_table(pruning),
        network=plots.pruned_network(pruning),
        width_table=shrinking.width_table(pruning),
        times=plots.layer_time_plot(time_rows(latency.layers)) if latency else None,
        fall=plots.waterfall(latency.layers, [layer.name for layer in pruning.layers]) if latency else None,
        time_table=latency_table(latency) if latency else None,
        attempts=plots.attempt_plot(latency) if latency else None,
        recovery_table=recovery_table(pruning.recovery) if pruning.recovery else None,
        agreement_table=agreement_table(pruning.agreement) if pruning.agreement else None,
        whole=shrinking.unpruned_table(pruning.unpruned),
        notes=pruning.notes,
        conditions=view.condition_rows(
            verb_answers.made_rows(pruning.made),
            view.used_options(pruning),
            latency.conditions if latency else {},
            files=pruning.files,
        ),
        **_heat(pruning.sensitivity),
    )


def render_inspect(record: Inspection | Mapping[str, Any]) -> str:
    """Builds the page of an inspected model from its JSON record alone.

    Args:
        record: What `sapwood inspect --json` printed.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    inspection = read_inspection(record)
    latency = inspection.latency
    return _render(
        "inspect.html.j2",
        inspection=inspection,
        headline=pruned_findings.inspect_headline(inspection),
        answers=verb_answers.inspect_answers(inspection),
        times=plots.layer_time_plot(time_rows(latency.layers)) if latency else None,
        fall=plots.waterfall(latency.layers, [layer.name for layer in inspection.layers]) if latency else None,
        time_table=inspect_latency_table(latency) if latency else None,
        **_widths(inspection.widths),
        layers=shrinking.layer_table(inspection),
        groups=shrinking.group_table(inspection),
        whole=shrinking.unpruned_table(inspection.unpruned),
        conditions=view.condition_rows(verb_answers.made_rows(inspection.made), latency.conditions if latency else {}),
        **_heat(inspection.sensitivity),
    )


def render_run(record: RunRecord | Mapping[str, Any]) -> str:
    """Builds the page of a run from its JSON record alone.

    Args:
        record: What `sapwood run --json` printed, or `run.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    run = read_run(record)
    return _render(
        "run.html.j2",
        run=run,
        headline=run_networks.run_verdict(run, run_view.run_headline(run)),
        states=run_view.run_headline(run),
        answers=run_networks.run_answers(run),
        networks=run_networks.network_table(run),
        links=run_networks.step_links(run),
        pictures=_run_pictures(run),
        conditions=view.condition_rows(verb_answers.made_rows(run.made)),
        steps=run_view.step_rows(run),
        times=run_view.time_rows(run),
        commands=run_view.command_rows(run),
    )


def render_bench(record: BenchRecord, made: MadeBy | None = None) -> str:
    """Builds the page of a measurement of latencies.

    Args:
        record: What :func:`sapwood.pipeline.bench` returned.
        made: By what command, when and where.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.
    """
    return _render(
        "bench.html.j2",
        **bench_view.bench_values(record, made),
        conditions=view.condition_rows(verb_answers.made_rows(made), record.conditions, record.versions),
    )


def render_evaluation(record: EvaluationRecord, made: MadeBy | None = None, then: tuple[str, ...] = ()) -> str:
    """Builds the page of an accuracy.

    Args:
        record: What `sapwood eval` measured.
        made: By what command, when and where.
        then: Commands that may come next.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.
    """
    about = {"data": record.data, "split": record.split, "runtime": record.runtime, record.unit: record.num_images}
    return _sheet(evaluated.evaluation_sheet(record, made, then), made, about)


def render_agreement(record: AgreementRecord, made: MadeBy | None = None, then: tuple[str, ...] = ()) -> str:
    """Builds the page of how far networks agree with the one that they were made from.

    Args:
        record: What `sapwood eval --against` measured.
        made: By what command, when and where.
        then: Commands that may come next.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.
    """
    about = {"data": record.data, "split": record.split, "pictures": record.num_images}
    return _sheet(evaluated.agreement_sheet(record, made, then), made, about)


def render_mask(record: Masking | Mapping[str, Any]) -> str:
    """Builds the page of masks from their JSON record alone.

    Args:
        record: What `sapwood mask --json` printed, or `mask.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    masking = read_masking(record)
    latency = masking.mask_latency.conditions if masking.mask_latency else {}
    return _sheet(masked.masking_sheet(masking), masking.made, masking.case, latency, {"saved": masking.saved})


def render_export(record: ExportRecord, made: MadeBy | None = None, then: tuple[str, ...] = ()) -> str:
    """Builds the page of an exported model.

    Args:
        record: What `sapwood export` wrote.
        made: By what command, when and where.
        then: Commands that may come next.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.
    """
    return _sheet(exported.export_sheet(record, made, then), made, {"format": record.format})


def render_compile(record: Compiling | Mapping[str, Any]) -> str:
    """Builds the page of a compiled network from its JSON record alone.

    Args:
        record: What `sapwood compile --json` printed, or `compile.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    made = read_compiling(record)
    about = {"threads": made.threads, "compiled in": formats.seconds(made.compile_s), "rounds": made.beside.rounds}
    return _sheet(compiled.compiling_sheet(made), made.made, about, {"saved": made.out})


def render_train(record: TrainingRecord | Mapping[str, Any]) -> str:
    """Builds the page of a trained network from its JSON record alone.

    Args:
        record: What `sapwood train --json` printed, or `train.json` read back.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    made = read_training(record)
    about = {"data": made.data, "train split": made.train_split, "split": made.split, **made.config}
    return _sheet(trained.training_sheet(made), made.made, about)


def render_detect(record: Detecting | Mapping[str, Any], photos: Mapping[str, str] | None = None) -> str:
    """Builds the page of detections from their JSON record, and pictures where there are some.

    Args:
        record: What `sapwood detect --json` printed, or `detections.json` read back.
        photos: Pictures with their boxes as `data:` addresses, by where the record says that they were drawn.

    Returns:
        A whole HTML document. Everything that came from the record is escaped.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    made = read_detecting(record)
    about = {"score threshold": made.score_threshold, "IoU threshold": made.iou_threshold, "pictures": len(made.images)}
    return _sheet(detected.detecting_sheet(made, photos or {}), made.made, about)


def _sheet(sheet: Sheet, made: MadeBy | None, *about: Mapping[str, Any]) -> str:
    conditions = view.condition_rows(verb_answers.made_rows(made), *about)
    return _render("sheet.html.j2", sheet=sheet, made=made, conditions=conditions)


def _run_pictures(run: RunRecord) -> tuple[plots.PictureRow, ...]:
    """What the cases of the run's first comparison find; nothing where there is none."""
    for step in run.steps:
        if step.verb == "compare" and isinstance(step.result, Mapping) and step.result.get("pictures"):
            return plots.picture_rows(read_record(step.result))
    return ()


def _heat(losses: Losses | None) -> dict[str, Any]:
    """What the section on sensitivity shows; ``heat`` is None where there is none."""
    if losses is None:
        return {"heat": None, "heat_table": None, "dense_loss": ""}
    return {
        "heat": plots.sensitivity_plot(losses),
        "heat_table": sensitivity_table(losses),
        "dense_loss": formats.loss(losses.dense),
    }


def _widths(times: WidthTimes | None) -> dict[str, Any]:
    """What the section on widths shows."""
    if times is None:
        return {"width_tables": [], "widths_text": ""}
    tables = widths_table(times), layer_widths_table(times)
    return {"width_tables": [table for table in tables if table is not None], "widths_text": widths_text(times)}


def _render(template: str, **values: Any) -> str:
    environment = _environment()
    style, script = (
        Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]
        for name in ("style.css", "script.js")
    )
    return environment.get_template(template).render(style=style, script=script, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sapwood.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = formats.unbroken
    return environment
