"""Rows that remove channels: what they make is smaller, and the notes say how it was proven."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sapwood.comparing
from sapwood.cases import ROW_KINDS, Candidate, CaseRow, CompactRow, MaskRow, PruneRow
from sapwood.errors import ConfigError
from sapwood.goals import Calibration
from sapwood.measure import count_params
from sapwood.types import ModelBundle, ModelSource, TaskSpec


@pytest.fixture
def dense() -> ModelBundle:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2)).eval()
    return ModelBundle(model, torch.randn(1, 3, 6, 6), TaskSpec("none"), ModelSource("test", "test"))


def made(row: CaseRow, dense: ModelBundle) -> Candidate:
    return row.prepare()(dense)


def test_a_compacted_mask_is_the_masked_network_and_smaller(dense: ModelBundle) -> None:
    mask = made(MaskRow(method="ln_structured", sparsity=0.5), dense)
    compact = made(CompactRow(method="ln_structured", sparsity=0.5), dense)
    x = torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(compact.bundle.model(x), mask.bundle.model(x))
    assert count_params(compact.bundle.model) < count_params(mask.bundle.model) == count_params(dense.model)
    assert "computes what the masked network does" in compact.notes


def test_pruned_channels_are_gone(dense: ModelBundle) -> None:
    candidate = made(PruneRow(sparsity=0.5), dense)
    model = candidate.bundle.model
    assert [model[0].out_channels, model[2].in_channels, model[4].in_features] == [4, 4, 8]
    assert "computes what the network with these channels masked does" in candidate.notes
    assert dense.model[0].out_channels == 8


@pytest.fixture
def calibration() -> Calibration:
    torch.manual_seed(1)
    batches = [SimpleNamespace(inputs=torch.randn(16, 3, 6, 6)) for _ in range(8)]
    return Calibration(batches, lambda model, batch: model(batch.inputs).square().mean())


def moved(candidate: Candidate, dense: ModelBundle) -> float:
    x = torch.randn(64, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return float((candidate.bundle.model(x) - dense.model(x)).square().mean())


def test_weights_that_a_mask_keeps_take_over(dense: ModelBundle, calibration: Calibration) -> None:
    rows = {
        "masked": MaskRow(method="l1_unstructured", sparsity=0.5),
        "kept": MaskRow(method="l1_unstructured", sparsity=0.5, recover="reconstruct"),
        "chosen": MaskRow(sparsity=0.5, recover="reconstruct"),
    }
    candidates = {name: row.prepare()(dense, calibration) for name, row in rows.items()}
    apart = {name: moved(candidate, dense) for name, candidate in candidates.items()}
    assert apart["chosen"] < apart["kept"] < apart["masked"]
    for candidate in candidates.values():
        weights = [candidate.bundle.model[number].weight for number in (0, 2)]
        zeros, total = sum(int((one == 0).sum()) for one in weights), sum(one.numel() for one in weights)
        assert zeros == total // 2
        assert candidate.with_live_masks is not None
        live = candidate.with_live_masks()
        assert hasattr(live[0], "weight_orig")
        torch.testing.assert_close(live[0].weight, candidate.bundle.model[0].weight)
    assert candidates["masked"].notes == ()
    assert "recovered by reconstruct from 128 pictures without labels" in candidates["chosen"].notes[-1]


def test_a_compacted_mask_may_have_its_accuracy_back(dense: ModelBundle, calibration: Calibration) -> None:
    how = {"method": "ln_structured", "sparsity": 0.5, "layers": ("conv",)}
    plain, better = (
        CompactRow(**how, recover=recover).prepare()(dense, calibration) for recover in ("none", "reconstruct")
    )
    assert count_params(better.bundle.model) == count_params(plain.bundle.model) < count_params(dense.model)
    assert moved(better, dense) < moved(plain, dense)


def test_a_criterion_of_a_mask_sees_pictures(dense: ModelBundle, calibration: Calibration) -> None:
    row = MaskRow(method="scored", criterion="taylor", sparsity=0.5)
    assert int((row.prepare()(dense, calibration).bundle.model[0].weight == 0).sum()) == 108
    with pytest.raises(ConfigError, match=r"^criterion: taylor looks at pictures; expected a data set"):
        made(row, dense)


def test_a_mask_that_recovers_without_pictures_is_refused(dense: ModelBundle) -> None:
    with pytest.raises(ConfigError, match=r"^recover: reconstruct looks at pictures; expected a data set"):
        made(MaskRow(sparsity=0.5, recover="reconstruct"), dense)


def test_weights_are_chosen_anew_only_where_layers_are_solved() -> None:
    with pytest.raises(ConfigError, match=r"^reselect chooses while layers are solved; expected method: scored and"):
        MaskRow(method="l1_unstructured", sparsity=0.5, recover="reconstruct", reselect=True).prepare()
    with pytest.raises(ConfigError, match=r"^reselect chooses while layers are solved"):
        MaskRow(method="scored", sparsity=0.5, reselect=True).prepare()
    assert MaskRow(method="scored", sparsity=0.5, recover="reconstruct", reselect=True).reselects
    assert not MaskRow(method="scored", sparsity=0.5, recover="reconstruct").reselects
    assert MaskRow(sparsity=0.5, recover="reconstruct").reselects


def test_a_row_in_int8_is_measured_on_its_runtime(dense: ModelBundle) -> None:
    pytest.importorskip("onnxruntime.quantization", reason="needs pip install sapwood[int8]")
    batch = SimpleNamespace(inputs=torch.rand(4, 3, 6, 6))
    calibration = Calibration([batch], lambda model, batch: torch.zeros(()))
    candidate = PruneRow(sparsity=0.5, int8="onnxruntime-int8").prepare()(dense, calibration)
    with torch.no_grad():
        wanted = candidate.bundle.model(batch.inputs)
        found = candidate.running.model(batch.inputs)
    assert 0.0 < float((found - wanted).abs().max()) < 0.1 * float(wanted.abs().max())
    assert any("accuracy and time are those of int8 on onnxruntime-int8" in note for note in candidate.notes)
    plain = made(PruneRow(sparsity=0.5), dense)
    assert plain.running is plain.bundle


def test_a_row_in_int8_without_pictures_is_refused(dense: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="int8: openvino-int8 looks at pictures; expected a data set"):
        made(PruneRow(sparsity=0.5, int8="openvino-int8"), dense)


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_a_row_without_the_fields_of_its_kind_is_refused(kind: str) -> None:
    kinds = "compact, mask, model, prune"
    message = rf"^kind {kind}: got a CaseRow, which makes nothing; expected a row of one of the kinds {kinds}$"
    with pytest.raises(ConfigError, match=message):
        CaseRow(kind=kind).prepare()


def test_what_made_candidates_before_goes_on_working_with_a_warning(dense: ModelBundle) -> None:
    with pytest.warns(DeprecationWarning, match=r"CANDIDATES\[kind\]\(row\) is row\.prepare\(\) now"):
        makers = sapwood.comparing.CANDIDATES
    assert list(makers) == list(ROW_KINDS)
    assert makers["prune"](PruneRow(sparsity=0.5))(dense).bundle.model[0].out_channels == 4
    with pytest.raises(AttributeError, match=r"module 'sapwood\.comparing' has no attribute 'nothing'"):
        _ = sapwood.comparing.nothing


@pytest.mark.parametrize(
    ("row", "looks"),
    [
        (MaskRow(method="l1_unstructured"), False),
        (MaskRow(method="scored"), False),
        (MaskRow(method="scored", criterion="obs"), True),
        (MaskRow(method="l1_unstructured", recover="batchnorm"), True),
        (CompactRow(method="ln_structured", recover="reconstruct"), True),
        (PruneRow(sparsity=0.5), False),
        (PruneRow(sparsity=0.5, criterion="taylor"), True),
        (PruneRow(sparsity=0.5, criterion="nothing"), False),
        (PruneRow(sparsity=0.5, recover="batchnorm"), True),
        (PruneRow(sparsity=0.5, int8="openvino-int8"), True),
    ],
)
def test_a_row_says_whether_it_looks_at_pictures(row: CaseRow, looks: bool) -> None:
    assert row.looks_at_pictures() is looks


def test_a_new_kind_of_row_is_one_file(tmp_path: Path) -> None:
    package = tmp_path / "sapwood"
    shutil.copytree(Path(sapwood.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "cases" / "rows" / "dense.py").write_text(DENSE_ROWS)
    code = """
import warnings
from pathlib import Path
from sapwood.cases import parse_cases
(row,) = parse_cases("[{kind: dense, note: one, listing: names.txt}]", "cases.yaml", folder=Path("beside"))
print(row.name, row.files(), row.prepare()("the bundle").notes)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.strip() == f"dense one {{'listing': '{Path('beside') / 'names.txt'}'}} ('one',)"


def test_reading_cases_loads_no_stage() -> None:
    code = "import sys, sapwood.cases; print(*(name for name in sys.modules if name.startswith('sapwood.')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in printed.stdout.split()}
    assert rooms == {"cases", "errors", "foreign", "limits", "meant", "plugins", "reading", "registry", "types"}


DENSE_ROWS = """
from typing import ClassVar, Literal

from sapwood.cases.rows.base import ROW_KINDS, Candidate, CaseRow


@ROW_KINDS.register("dense")
class DenseRow(CaseRow):
    file_fields: ClassVar[tuple[str, ...]] = ("listing",)
    kind: Literal["dense"] = "dense"
    note: str
    listing: str

    def default_family(self):
        return f"dense {self.note}"

    def prepare(self):
        return lambda dense, calibration=None: Candidate(dense, (self.note,))
"""
