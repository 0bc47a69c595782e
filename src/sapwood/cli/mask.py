"""``sapwood mask``: the methods of ``torch.nn.utils.prune``, and what they do to a model's tensors."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.cli import budget as budgets
from sapwood.cli.common import (
    JsonOption,
    ModelArgument,
    ModelFactoryOption,
    NamesOption,
    WeightsOption,
    load_bundle,
    make_console,
    print_json,
)
from sapwood.cli.shrink import check_out
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from sapwood.masks import MaskCase, MaskRecord
    from sapwood.pipeline import Calibration, Deployment, SparsityOutcome
    from sapwood.report import Masking
    from sapwood.types import ModelBundle


class Scope(str, Enum):
    """Where the fraction is taken from."""

    local = "local"
    everywhere = "global"


WeightCriterionOption = Annotated[
    str,
    typer.Option(
        "--criterion",
        help="Of scored: `magnitude`, `norm`, `l1`, `l2`, `lamp`, `random`; with --data also `obs`, `taylor`, "
        "`fisher`, `wanda`, `movement`.",
    ),
]
ReselectOption = Annotated[
    bool,
    typer.Option(
        "--reselect",
        help="With --recover: the masks only say how many weights each layer keeps; which ones, is chosen together "
        "with what they become.",
    ),
]


def mask(
    model: ModelArgument,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="`l1_unstructured`, `random_unstructured`, `ln_structured`, `random_structured`, `custom_from_mask`, "
            "`scored`.",
        ),
    ] = "l1_unstructured",
    sparsity: Annotated[
        float | None,
        typer.Option("--sparsity", help="Fraction removed, in [0, 1); 0.5, unless --blocks n:m says it."),
    ] = None,
    scope: Annotated[
        Scope, typer.Option("--scope", help="`local`: each layer loses the fraction; `global`: all layers together.")
    ] = Scope.local,
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="Comma-separated: `conv`, `bn`, `linear`, `all`; conv if no --pattern is given."),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="Only parameters whose name fits, as `layers.1*.weight`.")
    ] = None,
    n: Annotated[float, typer.Option("--n", help="Of ln_structured: which norm (1, 2, inf).")] = 2.0,
    dim: Annotated[int, typer.Option("--dim", help="Of structured methods: the dimension whose slices go.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of random methods, and of --recover.")] = 0,
    mask_file: Annotated[
        Path | None, typer.Option("--mask-file", help="Of custom_from_mask: .safetensors or .npz, a mask a parameter.")
    ] = None,
    criterion: WeightCriterionOption = "magnitude",
    data: budgets.CalibrationDataOption = None,
    split: budgets.CalibrationSplitOption = "train",
    num_pictures: budgets.NumPicturesOption = 128,
    labels: budgets.LabelsOption = budgets.Labels.data,
    budget: Annotated[
        str,
        typer.Option("--budget", help="Of scored: how layers share the sparsity: `uniform`, `erk`, `global`, `lamp`."),
    ] = "uniform",
    blocks: Annotated[
        str, typer.Option("--blocks", help="Of scored: what goes together: `unstructured`, `2:4`, `4:8`, `2x1`, `1x2`.")
    ] = "unstructured",
    latency: Annotated[
        float | None,
        typer.Option(
            "--latency",
            help="Instead of a sparsity, of scored: the fraction of the dense network's measured latency on --runtime, "
            "`sapwood`, where zeros cost nothing. Each layer gets the sparsity that harms least for its milliseconds; "
            "with --data, harm is how far the outputs move when it alone is masked.",
        ),
    ] = None,
    runtime: Annotated[str, typer.Option("--runtime", help="Of --latency.")] = "sapwood",
    threads: budgets.RuntimeThreadsOption = None,
    recover: budgets.RecoverOption = budgets.Recover.none,
    recover_pictures: budgets.RecoverPicturesOption = budgets.MOST_PICTURES,
    recover_steps: budgets.RecoverStepsOption = 1000,
    reselect: ReselectOption = False,
    permanent: Annotated[
        bool, typer.Option("--permanent", help="Save after `remove`: plain weights with zeros, no masks.")
    ] = False,
    weights: WeightsOption = None,
    names: NamesOption = None,
    model_factory: ModelFactoryOption = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Directory the masked model is saved in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Masks weights as `torch.nn.utils.prune` does; shows keys and sparsity before, with the mask, and after `remove`.

    With --recover, the weights that stay take over the work of those that go. Exit code 1 if --latency was missed.

    Example: `sapwood mask yolov3-tiny.cfg --weights yolov3-tiny.weights --sparsity 0.5 --scope global -o masked`
    """
    from sapwood.masks import MaskCase, masking_state, remove_masks_
    from sapwood.models import copy_model, save_model
    from sapwood.pipeline import Deployment, masking_record

    case = MaskCase(
        method=method,
        sparsity=0.5 if sparsity is None and ":" not in blocks else sparsity,
        scope=scope.value,
        layers=_kinds(layers, pattern),
        pattern=pattern,
        n=n,
        dim=dim,
        seed=seed,
        mask_file=None if mask_file is None else str(mask_file),
        criterion=criterion,
        budget=budget,
        blocks=blocks,
    )
    recovery = budgets.RecoveryOptions(recover, data, split, recover_pictures, recover_steps, seed)
    _check_options(
        has_latency=latency is not None,
        has_amounts=sparsity is not None or budget != "uniform",
        reselects=reselect,
        solves=method == "scored" and recover in {budgets.Recover.reconstruct, budgets.Recover.distill},
    )
    check_out(out)
    bundle = load_bundle(model, weights, names, factory=model_factory)
    dense = copy_model(bundle.model)
    before = masking_state(bundle.model)
    calibration = None
    if method == "scored" and (criterion != "magnitude" or latency is not None):
        calibration = budgets.make_calibration(bundle, data, split, num_pictures, labels, seed=seed)
    deployment = None if latency is None else Deployment(runtime, threads, 1)
    record, outcome = _mask_(bundle, case, calibration, latency, deployment)
    done = recovery.masked_(bundle, dense, case.unit_pattern if reselect else None)
    masked = masking_state(bundle.model)
    removed_model = copy_model(bundle.model)
    remove_masks_(removed_model)
    states = (before, masked, masking_state(removed_model))
    if permanent:
        remove_masks_(bundle.model)
    told = masking_record(record.case, states, latency=outcome, recovery=done, saved=out)
    if out is not None:
        plain = told.plain()
        more = {name: plain[name] for name in told.sections if name in plain}
        save_model(bundle, out, record={"mask": asdict(record), **more})
    if as_json:
        print_json(told.plain())
    else:
        _show(told, record, out, permanent=permanent)
    if outcome is not None and not outcome.met:
        raise typer.Exit(1)


def _check_options(*, has_latency: bool, has_amounts: bool, reselects: bool, solves: bool) -> None:
    """Refuses options that say two things at once."""
    if has_latency and has_amounts:
        raise ConfigError("--latency says how many weights go, and where; expected neither --sparsity nor --budget")
    if reselects and not solves:
        raise ConfigError(
            "--reselect chooses while layers are solved; expected --method scored and --recover reconstruct"
        )


def _show(told: Masking, record: MaskRecord, out: Path | None, *, permanent: bool) -> None:
    """Prints the tables and the remarks."""
    from sapwood.report import mask_tables

    console = make_console()
    for table in mask_tables(told):
        console.print(table)
    _print_remarks(console, record, out, permanent=permanent)


def _mask_(
    bundle: ModelBundle,
    case: MaskCase,
    calibration: Calibration | None,
    latency: float | None,
    deployment: Deployment | None,
) -> tuple[MaskRecord, SparsityOutcome | None]:
    """Masks a model in place, to a latency where one is given."""
    from sapwood.masks import apply_masks_
    from sapwood.pipeline import weight_scores

    scores = None
    if case.method == "scored" and case.criterion != "magnitude":
        scores = weight_scores(bundle.model, bundle.example_inputs, case.criterion, calibration)
    if latency is None or deployment is None:
        return apply_masks_(bundle.model, case, scores=scores), None
    return budgets.mask_to_latency_(bundle, case, latency, deployment, scores=scores, calibration=calibration)


def _print_remarks(console: Console, record: MaskRecord, out: Path | None, *, permanent: bool) -> None:
    """What could not be masked, what else a reader should know, and where the model is."""
    for reason in record.skipped:
        console.print(f"not masked: {reason}", highlight=False)
    for note in record.notes:
        console.print(f"note: {note}", highlight=False)
    if out is not None:
        console.print(f"saved: {out} ({'permanent zeros' if permanent else 'live masks'}; safetensors, no pickle)")


def _kinds(layers: str | None, pattern: str | None) -> tuple[str, ...]:
    """The kinds of layers that were asked for: convolutions, unless a pattern says which parameters."""
    if layers is None:
        return () if pattern is not None else ("conv",)
    return tuple(part.strip() for part in layers.split(",") if part.strip())
