"""``sapwood prune``: removes channels, and everything that hangs on them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sapwood.cli import budget
from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument, progress_bar
from sapwood.cli.groups import as_options, grouped
from sapwood.cli.output import complain
from sapwood.cli.progress import doing
from sapwood.cli.recovery import Recovery
from sapwood.cli.shrink import IgnoreOption, LayersOption, OutOption, OutputsOption, check_out, finish
from sapwood.cli.stopping import saying
from sapwood.cli.unrecovered import Unrecovered

if TYPE_CHECKING:
    from sapwood.factoring import TwoLayers
    from sapwood.pipeline import Calibration, Pruned, Sensitivity, Target
    from sapwood.types import ModelBundle


@grouped
def prune(
    *,
    model: ModelArgument,
    goals: budget.GoalOptions,
    remove_blocks: budget.RemoveBlocksOption = None,
    criterion: budget.CriterionOption = None,
    allocator: budget.AllocatorOption = None,
    pictures: budget.PictureOptions,
    sensitivity: budget.SensitivityOption = None,
    recovery: budget.RecoveryOptions,
    seed: budget.SeedOption = 0,
    where: budget.DeploymentOptions,
    ignore: IgnoreOption = None,
    outputs: OutputsOption = None,
    widths: budget.WidthOptions,
    files: LoadOptions,
    out: OutOption = None,
    layers: LayersOption = False,
    as_json: JsonOption = False,
) -> None:
    """Removes channels, and everything that hangs on them; the result is proven equal to the masked network.

    Give one goal: --sparsity, --params, --macs or --latency; or --remove-blocks, or both. A latency is measured on
    --runtime, and the network is corrected until the clock agrees within --tolerance, or its quartiles hold the target;
    exit code 1 if it does not. Outputs stay as they are, or those that --outputs names. Interrupted while --recover is
    at work, the same command goes on from the pruned network, which is at -o by then; with --low-rank it begins anew.
    `-o` also gets `report.html` and, of a Darknet network, `model.cfg` and `model.weights`.

    Example: `sapwood prune yolov4-tiny.cfg --weights yolov4-tiny.weights --latency 0.5 --runtime onnxruntime -o small`
    """
    from sapwood import pipeline
    from sapwood.factoring import check_some_able
    from sapwood.goals import default_criterion

    criterion = criterion or default_criterion(low_rank=widths.low_rank, pictures=pictures.data is not None)
    chosen = {"criterion": criterion, "allocator": allocator}
    measured = {"sensitivity": sensitivity}
    depth = budget.read_depth(remove_blocks)
    joint = depth in ("auto", "only")
    target, limits = goals.target(needed=depth is False or joint), widths.limits()
    budget.check_low_rank(widths, remove_blocks, target)
    asked = as_options(
        goals,
        {"latency": None if target is None else target.latency, "remove_blocks": remove_blocks},
        chosen,
        {} if pictures.data is None else pictures,
        measured,
        recovery if recovery.wanted else {},
        {"seed": seed},
        where,
        {"ignore": ignore, "outputs": outputs},
        widths,
        files,
    )
    looks = sensitivity is not None or depth is not False or widths.low_rank or pipeline.scores_by_pictures(criterion)
    pictures.note_looked_at(
        looks or recovery.wanted, "a --criterion that looks at data, --sensitivity, --low-rank or --recover"
    )
    deployment = where.deployment(needed=target is not None and target.kind == "latency")
    check_out(out)
    recovers = Recovery(recovery, pictures, seed, looks)
    bundle = files.load(model)
    pipeline.check_inputs(bundle)
    recovers.check(bundle)
    whole = pipeline.matching_tensors(bundle.model, ignore or ())
    if widths.low_rank:
        check_some_able(bundle.model, whole)
    anew = widths.low_rank or not recovery.wanted  # a plan does not hold the values of two layers: no recovery goes on
    place = None if out is None or anew else Unrecovered(out, bundle, asked)
    found = None if place is None else place.find()

    def made() -> tuple[Pruned, Sensitivity | None]:
        """Prunes, and tells what that measured."""
        with doing("reading pictures" if pictures.data is not None else "preparing"):
            calibration = pictures.calibration(bundle, seed=seed) if looks else None
            score = pipeline.scorer(bundle.model, criterion, calibration)
        network = _as_two(bundle, target, calibration, whole) if widths.low_rank else None
        curves = budget.measure_sensitivity(
            bundle if network is None else replace(bundle, model=network.model),
            sensitivity,
            calibration,
            score if network is None else score.of(network.model),
            ignore=whole if network is None else network.ignored(whole),
            whole_heads=widths.whole_heads,
            recovered=recovery.wanted and not joint,
            blocks=None
            if sensitivity is None or not joint
            else pipeline.block_plans(
                bundle.model, bundle.example_inputs, ignore=whole, outputs=outputs, as_config=widths.as_config
            ),
        )
        how = {
            "target": target, "depth": depth, "low_rank": network or False, "criterion": score, "allocator": allocator,
            "calibration": calibration, "sensitivity": curves, "limits": limits, "outputs": outputs,
            "deployment": deployment,
        }  # fmt: skip
        result = _pruned(bundle, whole, how)
        return result, curves or result.sensitivity

    earlier = None
    if found is None:
        result, curves = made()
        if place is not None:
            place.keep(result, curves)
    else:
        (result, earlier), curves = found, None
        complain(f"{out} holds the network as this command pruned it; its recovery goes on", 0)
    with nullcontext() if place is None else saying(place.where):
        result, agreement = recovers.judged(bundle, result)
    with nullcontext() if place is None else place.replaced():
        finish(
            "prune",
            bundle,
            result,
            asked,
            out,
            layers=layers,
            as_json=as_json,
            sensitivity=curves,
            agreement=agreement,
            earlier=earlier,
        )


def _as_two(
    bundle: ModelBundle, target: Target | None, calibration: Calibration | None, whole: dict[str, str]
) -> TwoLayers:
    """The network in which layers that may be of low rank are two each."""
    from sapwood import pipeline

    assert target is not None
    with doing("making layers two"):
        return pipeline.two_layers(bundle.model, bundle.example_inputs, target, calibration, whole)


def _pruned(bundle: ModelBundle, whole: dict[str, str], how: dict[str, Any]) -> Pruned:
    """Prunes with a bar, where it is timed; what a file of the model's framework cannot say stays whole."""
    from sapwood import pipeline

    timed = how["deployment"] is not None
    told = nullcontext() if timed else doing("scoring channels, removing them, comparing")
    with told, progress_bar("pruning", quiet=not timed) as progress:

        def leaving(held: dict[str, str]) -> Pruned:
            return pipeline.prune(bundle.model, bundle.example_inputs, ignore=held, progress=progress, **how)

        return pipeline.shrink_describable(bundle.model, whole, leaving)
