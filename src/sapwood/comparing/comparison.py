"""``sapwood compare``: a model as it is, and what each case makes of it, measured alike."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sapwood
from sapwood.cases import BASELINE, Candidate, CaseRow, Make, named_rows
from sapwood.comparing.agreeing import case_agreement, num_agreeing
from sapwood.comparing.measuring import CompareSettings, MeasuringSetup, case_head, measure_case
from sapwood.comparing.own import Measure, dataset_of, rows_of, subject_of
from sapwood.comparing.pictures import first_pictures, shown_picture
from sapwood.comparing.prepared import baseline_candidate, prepare
from sapwood.comparing.steps import Progress, Steps
from sapwood.comparing.store import CaseStore
from sapwood.comparing.timing import time_candidates, time_deployed, time_live_mask, time_on_engine
from sapwood.errors import ConfigError
from sapwood.files import check_folder, write_json, write_text
from sapwood.fingerprints import data_fingerprint, model_fingerprint, pictures_fingerprint
from sapwood.goals import Calibration
from sapwood.measure import machine
from sapwood.report import (
    CaseResult,
    Comparison,
    DataInfo,
    LiveMask,
    MeasuredAgreement,
    ModelInfo,
    dump_record,
    render_compare,
)
from sapwood.types import Dataset, ExampleInputs, ModelBundle, Picture


def compare(
    bundle: ModelBundle | nn.Module,
    dataset: Dataset | str | os.PathLike[str] | None = None,
    cases: Sequence[CaseRow | Mapping[str, Any]] | str | os.PathLike[str] | None = None,
    *,
    out_dir: str | Path = "compare",
    example_inputs: ExampleInputs | None = None,
    measure: Measure | None = None,
    pictures: Mapping[str, Picture] | None = None,
    calibration: Callable[[], Calibration | None] | None = None,
    settings: CompareSettings | None = None,
    command: str = "",
    name: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures a model, and every case made of it, on the same pictures and against each other in time.

    Each finished case is kept in ``out_dir/cases``; a run that was stopped, started again with the same model, data and
    settings on the same machine, goes on after the last of them. Time is measured at the end, all candidates in every
    round, for which all of them are in memory at once. A case that fails is in the record with its reason, and the
    others go on.

    Args:
        bundle: A detector or a classifier; or any module, with ``example_inputs`` and ``measure``. It is not changed.
        dataset: What accuracy is measured on: a data set, or where one lies, of which the ``val`` part is taken;
            nothing where ``measure`` needs none.
        cases: The rows after the baseline, as :func:`sapwood.cases.read_cases` gives them, as a list of mappings, or
            the name of a file; the practitioner's table if None.
        example_inputs: Of a module: a tensor, a tuple of positional or a dict of keyword arguments.
        measure: Says how good a model is, instead of Sapwood: called with a copy of each, in eval mode, it returns a
            figure, or several by name, of which the first counts; larger is better. Such figures are taken anew each
            time.
        out_dir: Gets ``compare.json``, ``report.html`` and ``cases/``; each file is whole or not there.
        pictures: Pictures to show with what each case finds in them, by name; the data set's first ones if None.
        calibration: Reads the pictures that rows look at that recover, or whose criterion needs data; called once, when
            the first such row comes. Such rows fail without.
        settings: Thresholds, rounds, threads; the defaults of :class:`CompareSettings` if None.
        command: What was called, for the record.
        name: How the record calls the model; as its source does if None.
        progress: Called with (done, total) in passes of one picture through one candidate.

    Returns:
        The record that ``compare.json`` holds; see :class:`sapwood.report.Comparison`.

    Raises:
        ConfigError: If two cases have one name, a case's fields do not go together, or ``out_dir`` is a file.
        WriteError: If nothing can be written to ``out_dir``, before the work or later.
        SapwoodError: Whatever measuring the unpruned network raises.
    """
    settings = settings or CompareSettings()
    bundle = subject_of(bundle, example_inputs)
    dataset = dataset_of(bundle, dataset, measure)
    rows = named_rows(rows_of(cases))
    makes = prepare(rows)
    out_dir = _checked_folder(out_dir)
    with _threads(settings.threads):
        shown = first_pictures(dataset) if pictures is None else pictures
        subject = MeasuringSetup(dataset, shown, settings, measure)
        steps = Steps(
            progress,
            len(dataset.samples),
            len(rows) + 1,
            settings.latency_rounds,
            agreeing=num_agreeing(bundle, subject),
        )
        run = _ComparisonRun(bundle, subject, steps, _open_store(bundle, subject, out_dir, steps), calibration)
        run.measure(_baseline_row(), baseline_candidate, stop_on_error=True)
        for row, make in zip(rows, makes, strict=True):
            run.measure(row, make)
        agreement, why = case_agreement(run.candidates, subject)
        steps.next_figure()
        live_mask, conditions = run.time()
    conditions = {**conditions, "agreement": why} if why else conditions
    comparison = _comparison(run, live_mask, conditions, (name, command), agreement)
    record = dump_record(comparison)
    write_json(out_dir / "compare.json", record)
    write_text(out_dir / "report.html", render_compare(record))
    return record


@dataclass
class _ComparisonRun:
    """A comparison under way: what was measured so far, and the candidates it was measured on."""

    dense: ModelBundle
    subject: MeasuringSetup
    steps: Steps
    store: CaseStore
    calibration: Callable[[], Calibration | None] | None
    results: dict[str, CaseResult] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    _pictures: Calibration | None = None

    def measure(self, row: CaseRow, make: Make, *, stop_on_error: bool = False) -> None:
        """Makes one candidate and measures it, or takes its figures from an earlier run."""
        try:
            candidate = make(self.dense, self._calibrated(row))
            result = self.store.read(row)
            if result is None:
                result = measure_case(row, candidate, self.subject, self.steps.images)
                self.store.write(row, result)
        except Exception as error:
            if stop_on_error or isinstance(error, OSError):
                raise
            self.results[row.name] = CaseResult.model_validate(
                {**case_head(row), "error": f"{type(error).__name__}: {error}"}
            )
        else:
            self.results[row.name] = result
            self.candidates[row.name] = candidate
        self.steps.next_case()

    def _calibrated(self, row: CaseRow) -> Calibration | None:
        """The pictures that a row may look at, read when the first row asks for them."""
        if self.calibration is None or not row.looks_at_pictures():
            return None
        if self._pictures is None:
            self._pictures = self.calibration()
        return self._pictures

    def time(self) -> tuple[LiveMask | None, Mapping[str, Any]]:
        """Times all candidates against each other; returns what a live mask adds, and the conditions."""
        rounds = self.subject.settings.latency_rounds
        if not rounds:
            return None, machine()
        times, conditions = time_candidates(self.candidates, rounds, self.steps.rounds)
        for name, latency in times.items():
            self.results[name] = self.results[name].model_copy(update={"latency": latency})
        self.steps.next_timing()
        threads = self.subject.settings.threads
        sessions: dict[str, Callable[[], object]] = {}
        engine, where = time_on_engine(self.candidates, rounds, threads, self.steps.rounds, sessions)
        for name, latency in engine.items():
            self.results[name] = self.results[name].model_copy(update={"engine": latency})
        self.steps.next_timing()
        deployed, deployed_where = time_deployed(self.candidates, sessions, rounds, threads, self.steps.rounds)
        for name, runtimes in deployed.items():
            self.results[name] = self.results[name].model_copy(update={"runtimes": runtimes})
        live_mask = time_live_mask(self.candidates, rounds)
        self.steps.finish()
        return live_mask, {**conditions, "engine": where, "onnxruntime": deployed_where}


def _comparison(
    run: _ComparisonRun,
    live_mask: LiveMask | None,
    conditions: Mapping[str, Any],
    named: tuple[str | None, str],
    agreement: MeasuredAgreement | None,
) -> Comparison:
    bundle, dataset = run.dense, run.subject.dataset
    name, command = named
    is_source = name in {None, bundle.source.spec}
    baseline = run.results[BASELINE]
    assert baseline.accuracy is not None
    return Comparison(
        sapwood=sapwood.__version__,
        command=command,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=ModelInfo(
            spec=name or bundle.source.spec,
            weights=bundle.source.weights if is_source else None,
            task=bundle.task.kind,
            input_size=bundle.task.input_size,
            num_classes=len(dataset.class_names),
        ),
        data=DataInfo(name=dataset.name, num_images=baseline.accuracy.num_images, skipped=baseline.accuracy.skipped),
        settings={name: value for name, value in asdict(run.subject.settings).items() if name != "threads"},
        conditions=dict(conditions),
        pictures=tuple(shown_picture(name, picture) for name, picture in run.subject.pictures.items()),
        cases=tuple(run.results.values()),
        live_mask=live_mask,
        agreement=agreement,
    )


def _open_store(bundle: ModelBundle, subject: MeasuringSetup, out_dir: Path, steps: Steps) -> CaseStore:
    """The store of finished cases for exactly this model, data and settings."""
    fingerprints = {
        "model": model_fingerprint(bundle),
        "data": data_fingerprint(subject.dataset, steps.images),
        "pictures": pictures_fingerprint(subject.pictures),
    }
    if subject.measure is not None:
        fingerprints["measure"] = uuid.uuid4().hex  # nobody can tell whether a function does what it did before
    steps.next_case()
    return CaseStore.open(out_dir / "cases", fingerprints, subject.settings)


def _baseline_row() -> CaseRow:
    return CaseRow(kind=BASELINE, name=BASELINE, family=BASELINE)


def _checked_folder(path: str | Path) -> Path:
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: a file; expected a folder to write compare.json and report.html into")
    check_folder(path)
    return path


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """PyTorch on this many threads inside, as before afterwards."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
