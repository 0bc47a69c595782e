"""``sapwood mask``: the methods of ``torch.nn.utils.prune``, and what they do to a model's tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from sapwood.cli import budget as budgets
from sapwood.cli.commanded import again, made
from sapwood.cli.common import (
    JsonOption,
    LoadOptions,
    ModelArgument,
    make_console,
    note_threads,
    print_json,
    progress_bar,
)
from sapwood.cli.fractions import fraction
from sapwood.cli.groups import grouped
from sapwood.cli.next_steps import apart_from, measured_by, model_words, next_step, without_task, words
from sapwood.cli.recovery import Recovery
from sapwood.cli.shrink import check_out
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.masks import MaskCase, MaskRecord
    from sapwood.pipeline import Deployment
    from sapwood.report import Masking
    from sapwood.types import ModelBundle


SAVED = ("mask_latency", "recovery")
"""Of the record, what a saved model tells as well."""


class Scope(str, Enum):
    """Where the fraction is taken from."""

    local = "local"
    everywhere = "global"


MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        show_default="l1_unstructured; scored with --latency, and with --recover reconstruct or distill",
        help="`l1_unstructured`, `random_unstructured`, `ln_structured`, `random_structured`, `custom_from_mask`, "
        "`scored`.",
    ),
]
MaskedSparsityOption = Annotated[
    float | None,
    typer.Option(
        "--sparsity",
        parser=fraction,
        metavar="FRACTION",
        show_default="0.5",
        help="Of the numbers, removed: in [0, 1); --blocks n:m says it, too.",
    ),
]
ScopeOption = Annotated[
    Scope, typer.Option("--scope", help="`local`: each layer loses the fraction; `global`: all layers together.")
]
KindsOption = Annotated[
    str | None,
    typer.Option("--layers", help="Comma-separated: `conv`, `bn`, `linear`, `all`; conv if no --pattern is given."),
]
PatternOption = Annotated[
    str | None, typer.Option("--pattern", help="Only parameters whose name fits, as `layers.1*.weight`.")
]
NormOption = Annotated[float, typer.Option("--n", help="Of ln_structured: which norm (1, 2, inf).")]
DimOption = Annotated[int, typer.Option("--dim", help="Of structured methods: the dimension whose slices go.")]
MaskSeedOption = Annotated[int, typer.Option("--seed", help="Of random methods, and of --recover.")]
MaskFileOption = Annotated[
    Path | None, typer.Option("--mask-file", help="Of custom_from_mask: .safetensors or .npz, a mask a parameter.")
]
WeightCriterionOption = Annotated[
    str,
    typer.Option(
        "--criterion",
        help="Of scored: `magnitude`, `norm`, `l1`, `l2`, `lamp`, `random`; with --data also `obs`, `taylor`, "
        "`fisher`, `wanda`, `movement`.",
    ),
]
MaskBudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        show_default="uniform; lamp_macs where --recover chose the method",
        help="Of scored: how layers share the sparsity: `uniform`, `erk`, `global`, `lamp`, `lamp_macs`.",
    ),
]
BlocksOption = Annotated[
    str, typer.Option("--blocks", help="Of scored: what goes together: `unstructured`, `2:4`, `4:8`, `2x1`, `1x2`.")
]
MaskLatencyOption = Annotated[
    float | None,
    typer.Option(
        "--latency",
        parser=fraction,
        metavar="FRACTION",
        help="Instead of a sparsity, of scored: the fraction of the dense network's measured latency on --runtime, "
        "`sapwood`, where zeros cost nothing. Each layer gets the sparsity that costs least accuracy for its "
        "milliseconds; with --data, that is how far the outputs move when it alone is masked.",
    ),
]
ZerosRuntimeOption = Annotated[str, typer.Option("--runtime", help="Of --latency.")]
ReselectOption = Annotated[
    bool | None,
    typer.Option(
        "--reselect/--no-reselect",
        show_default="on where --recover chose the method",
        help="With --recover: the masks only say how many weights each layer keeps; which ones, is chosen together "
        "with what they become.",
    ),
]
PermanentOption = Annotated[
    bool, typer.Option("--permanent", help="Save after `remove`: plain weights with zeros, no masks.")
]
MaskedOutOption = Annotated[Path | None, typer.Option("-o", "--out", help="Directory the masked model is saved in.")]


@dataclass(frozen=True)
class MaskOptions:
    """What is masked, and by what."""

    panel: ClassVar[str] = "What is masked"

    method: MethodOption = None
    sparsity: MaskedSparsityOption = None
    scope: ScopeOption = Scope.local
    layers: KindsOption = None
    pattern: PatternOption = None
    n: NormOption = 2.0
    dim: DimOption = 0
    seed: MaskSeedOption = 0
    mask_file: MaskFileOption = None
    criterion: WeightCriterionOption = "magnitude"
    budget: MaskBudgetOption = None
    blocks: BlocksOption = "unstructured"

    def settled(self, *, solved: bool) -> MaskOptions:
        """The options with method and budget.

        Args:
            solved: Whether layers are solved afterwards: what was left open is then what serves that best.
        """
        from sapwood.pipeline import settled_method

        is_open = self.scope is Scope.local and self.mask_file is None
        method, budget = settled_method(self.method, self.budget, solved=solved and is_open, blocks=self.blocks)
        return replace(self, method=method, budget=budget)

    def case(self) -> MaskCase:
        """The options as the library has them; :meth:`settled` first.

        Raises:
            ConfigError: If they do not go together.
        """
        from sapwood.masks import MaskCase

        return MaskCase(
            method=str(self.method),
            sparsity=0.5 if self.sparsity is None and ":" not in self.blocks else self.sparsity,
            scope=self.scope.value,
            layers=self._kinds(),
            pattern=self.pattern,
            n=self.n,
            dim=self.dim,
            seed=self.seed,
            mask_file=None if self.mask_file is None else str(self.mask_file),
            criterion=self.criterion,
            budget=self.budget or "uniform",
            blocks=self.blocks,
        )

    def _kinds(self) -> tuple[str, ...]:
        """The kinds of layers that were asked for: convolutions, unless a pattern says which parameters."""
        if self.layers is None:
            return () if self.pattern is not None else ("conv",)
        return tuple(part.strip() for part in self.layers.split(",") if part.strip())


@dataclass(frozen=True)
class ZerosLatencyOptions:
    """The latency that masks are to reach."""

    panel: ClassVar[str] = "A latency instead of a sparsity"

    latency: MaskLatencyOption = None
    runtime: ZerosRuntimeOption = "sapwood"
    threads: budgets.RuntimeThreadsOption = None

    def deployment(self) -> Deployment | None:
        """Where it is measured, if there is one."""
        from sapwood.pipeline import Deployment

        note_threads(self.threads)
        return None if self.latency is None else Deployment(self.runtime, self.threads, 1)


@grouped
def mask(
    *,
    model: ModelArgument,
    what: MaskOptions,
    pictures: budgets.PictureOptions,
    goal: ZerosLatencyOptions,
    recovery: budgets.RecoveryOptions,
    reselect: ReselectOption = None,
    permanent: PermanentOption = False,
    files: LoadOptions,
    out: MaskedOutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Masks weights as `torch.nn.utils.prune` does; shows keys and sparsity before, with the mask, and after `remove`.

    With --recover, the weights that stay take over the work of those that go; with `reconstruct` or `distill` and
    without --method, which weights stay is chosen for that. Exit code 1 if --latency was missed.

    Example: `sapwood mask yolov3-tiny.cfg --weights yolov3-tiny.weights --sparsity 0.5 --scope global -o masked`
    """
    from sapwood import pipeline
    from sapwood.masks import remove_masks_

    solves = recovery.recover in {budgets.Recover.reconstruct, budgets.Recover.distill}
    is_open = what.method is None
    if is_open and goal.latency is not None:  # nothing else reaches one
        what = replace(what, method="scored")
    what = what.settled(solved=solves)
    reselects = (is_open and solves and what.method == "scored") if reselect is None else reselect
    case, deployment = what.case(), goal.deployment()
    recovers = Recovery(recovery, pictures, what.seed)
    _check_options(what, goal, solves=solves, reselects=reselects)
    looks = pipeline.masks_by_pictures(
        method=case.method, criterion=case.criterion, has_latency=goal.latency is not None
    )
    pictures.check_looked_at(looks or recovery.wanted, "a --criterion that looks at data, or --recover")
    check_out(out)
    bundle = files.load(model)
    recovers.check(bundle)
    done = pipeline.mask_(
        bundle,
        case,
        latency=goal.latency,
        deployment=deployment,
        calibration=pictures.calibration(bundle, seed=what.seed) if looks else None,
        recover=lambda masked, dense: recovers.masked_(masked, dense, case.unit_pattern if reselects else None),
        bar=progress_bar,
    )
    if permanent:
        remove_masks_(bundle.model)
    then = _next(model, bundle, what, pictures, out)
    told = pipeline.masking_record(done, saved=out).model_copy(update={"model": model, "made": made(then)})
    if out is not None:
        _save(bundle, told, done.record, out)
    if as_json:
        print_json(told.plain())
    else:
        _show(told, out, permanent=permanent)
        silent = "Zeros alone make nothing smaller or faster, and accuracy was not measured."
        next_step(*then, because=" ".join(filter(None, (silent, without_task(bundle)))))
    if done.latency is not None and not done.latency.met:
        raise typer.Exit(1)


def _save(bundle: ModelBundle, told: Masking, record: MaskRecord, out: Path) -> None:
    """Writes the directory in one step: the masked model, what masking did, and the page of that."""
    from sapwood.files import write_json, write_text
    from sapwood.models import new_saved, save_model
    from sapwood.report import render_mask

    plain = told.plain()
    more = {name: plain[name] for name in SAVED if name in plain}
    with new_saved(out) as folder:
        save_model(bundle, folder, record={"mask": asdict(record), **more})
        write_json(folder / "mask.json", plain)
        write_text(folder / "report.html", render_mask(told))


def _next(
    model: str, bundle: ModelBundle, what: MaskOptions, pictures: budgets.PictureOptions, out: Path | None
) -> tuple[str, ...]:
    """Masked filters can be removed, single zeros compiled; both are measured first."""
    if out is None:
        return (again("-o", "masked"),)
    filters = what.method in {"ln_structured", "random_structured"}
    verb, made_of = ("compact", "small") if filters else ("compile", "fast")
    saved = model_words(str(out), bundle.source)
    measured = measured_by(bundle, model, saved, pictures.data)
    return *measured, words("sapwood", verb, *saved, "-o", apart_from(str(out), made_of))


def _check_options(what: MaskOptions, goal: ZerosLatencyOptions, *, solves: bool, reselects: bool) -> None:
    """Refuses options that say two things at once."""
    if goal.latency is not None and (what.sparsity is not None or what.budget != "uniform"):
        raise ConfigError("--latency says how many weights go, and where; expected neither --sparsity nor --budget")
    if reselects and not (what.method == "scored" and solves):
        raise ConfigError(
            "--reselect chooses while layers are solved; expected --method scored and --recover reconstruct"
        )


def _show(told: Masking, out: Path | None, *, permanent: bool) -> None:
    """Prints the tables, what could not be masked, what else a reader should know, and where the model is."""
    from sapwood.report import mask_tables

    console = make_console()
    for table in mask_tables(told):
        console.print(table)
    for remark in told.remarks:
        console.print(remark, highlight=False)
    if out is not None:
        console.print(f"saved: {out} ({'permanent zeros' if permanent else 'live masks'}; safetensors, no pickle)")
        console.print(f"report: {out / 'report.html'}", highlight=False)
