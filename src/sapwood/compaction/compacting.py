"""``sapwood.compact``: turns masks or zeroed channels into a smaller network that computes the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from sapwood.arguments import check_yes_or_no, model_and_inputs
from sapwood.compaction.constants import Fold, add_shifts, find_folds
from sapwood.compaction.contributions import Contribution, contributions
from sapwood.compaction.dead import Dead, find_dead
from sapwood.compaction.dependence import RecordedStep, follow_dependence
from sapwood.compaction.kept import Kept, name_kept
from sapwood.compaction.padded_constants import PaddedConstants, find_merges, padded_constants
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import (
    ALL,
    Analysis,
    Draws,
    Structure,
    build_groups,
    explaining_inputs,
    output_tensors,
    plain_kernels,
    run_model,
    with_values,
)
from sapwood.masks import remove_masks_
from sapwood.models import (
    Ignored,
    Merge,
    Plan,
    apply_plan,
    copy_model,
    live_masks,
    map_tensors,
    whole_tensors,
    wide_copy,
    with_shapes,
)
from sapwood.removal import (
    PROOF_TOLERANCE,
    Constraints,
    Dense,
    Realised,
    Verification,
    all_kept_draws,
    compact_outputs,
    reference_outputs,
    relative_error,
    rounds,
    telling,
)
from sapwood.types import ExampleInputs, ModelBundle

NOTHING = "no value that the masked model returns is finite; expected example inputs for which some are"

SEED = 0
"""The seed of the inputs that the proof makes for itself."""


@dataclass(frozen=True)
class Compacted:
    """A model without its dead channels, how it came about, and the proof.

    Attributes:
        model: A module of the same class, smaller, with plain weights where there were masks.
        plan: Which indices of which tensors stay, and which constants were folded: data, JSON, re-appliable to the
            masked model once its masks are made permanent.
        verification: Compact against masked, in float64, on the example inputs and on random ones. With ``exact=False``
            the error is reported and not judged: ``passed`` is then about the cuts alone, the compact model without its
            folds against the masked model with the removed channels silenced.
        unpruned: Zeroed filters and dead channels that could not go, each with its reason.
    """

    model: nn.Module
    plan: Plan
    verification: Verification
    unpruned: tuple[Kept, ...]

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What :attr:`unpruned` was called, with a warning."""
        warnings.warn("Compacted.kept is Compacted.unpruned now, as of Pruned", DeprecationWarning, stacklevel=2)
        return self.unpruned


def compact(
    model: nn.Module | ModelBundle,
    example_inputs: ExampleInputs | None = None,
    *,
    exact: bool = True,
    ignore: Ignored = None,
    outputs: object = None,
) -> Compacted:
    """Removes the channels of ``model`` that carry nothing, as masks leave them; ``model`` itself is not touched.

    A channel goes where its values are the same for every input (a zeroed filter, and what bias, BatchNorm and
    activation make of it), or where nothing reads it, with every slice of every tensor that belongs to it. The constant
    that it still emits is added to the bias of the layers that read it, which is made where there is none; in front of
    a BatchNorm without such a bias, the running mean takes it. Zeros inside the filters that stay remain zeros.

    Args:
        model: Any module, masked by :mod:`torch.nn.utils.prune` (live or removed) or holding zeros of any origin. It is
            compacted as it computes in eval mode.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments. What is no tensor counts as
            fixed for good.
        exact: No bias can replace a constant that meets zero padding. True keeps one such channel in front of a
            convolution, which takes on the constants of all others (:mod:`sapwood.compaction.padded_constants`);
            False folds the median over all positions and reports the error.
        ignore: What must stay whole: names of tensors, dimensions (``"name[0]"``) or modules, with ``*`` and ``?`` as
            in a shell, or ``type:Linear`` for all of a class; each with the reason, as a dict, or alone.
        outputs: Refused: every output stays as it is, for what is compacted computes the same.

    Returns:
        The smaller model with its plan, its proof, and what was kept though it is dead.

    Raises:
        CheckFailedError: If no compact model could be made that equals the masked one, or the masked one returns no
            finite value that would tell; nothing is returned then.
        ConfigError: If ``outputs`` is given.

    Examples:
        >>> from torch.nn.utils import prune
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
        >>> _ = prune.ln_structured(model[0], "weight", amount=0.5, n=2, dim=0)
        >>> small = compact(model, torch.randn(1, 3, 8, 8))
        >>> small.model[0].weight.shape[0], small.model[2].in_channels, small.verification.passed
        (4, 4, True)
    """
    model, example_inputs = model_and_inputs(model, example_inputs)
    check_yes_or_no("exact", exact)
    if outputs is not None:
        raise ConfigError(
            f"outputs {outputs!r}: what is compacted computes the same, so that every output stays as it is; expected "
            "none, or sapwood.prune, whose outputs may follow the widths"
        )
    whole = whole_tensors(model, ignore)
    plain = copy_model(model)
    remove_masks_(plain)
    dense = Dense(plain, example_inputs, ALL)
    with explaining_inputs(plain, example_inputs):
        structure = with_values(dense.model, dense.inputs, ALL)
    merges = _merges(structure) if exact else ()
    if merges:
        masked, dense = dense.model, Dense(apply_plan(dense.model, Plan(merges=merges)), example_inputs, ALL)
        structure = with_values(dense.model, dense.inputs, ALL)
    else:
        masked = dense.model
    live = wide_copy(model).eval() if live_masks(model) else masked
    folds = _folds(structure, exact, merges)

    def select(analysis: Analysis) -> Dead:
        return find_dead(analysis, folds)

    def prove(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> Verification:
        plan = replace(add_shifts(realised.plan, folds, realised.expectation), merges=merges)
        drawn = partial(all_kept_draws, analysis=analysis, expectation=realised.expectation)
        runs = [_error(live, masked, plan, one, drawn) for one in (dense.inputs, other_inputs(dense.inputs))]
        error = max(error for error, _ in runs)
        if error == 0.0 and not any(compared for _, compared in runs):
            raise CheckFailedError(f"nothing was compared: {NOTHING}. The model given is unchanged.")
        judged = error if exact else _error_of_cuts(dense, structure, analysis, realised)
        return Verification(error, "float64", judged <= PROOF_TOLERANCE)

    solution = rounds(dense, structure, select, Constraints(whole), prove=prove)
    plan = replace(add_shifts(solution.realised.plan, folds, solution.realised.expectation), merges=merges)
    kept = name_kept(solution.analysis, solution.chosen, dict(dense.model.named_parameters()))
    small = apply_plan(plain, plan)
    return Compacted(small, with_shapes(plan, small), solution.verification, kept)


def _merges(structure: Structure) -> tuple[Merge, ...]:
    """Runs the masked model to learn which constants meet zero padding, and which channels carry them on."""
    found: list[PaddedConstants] = []

    def observe(step: RecordedStep) -> None:
        site = padded_constants(step, structure.graph)
        if site is not None:
            found.append(site)

    follow_dependence(copy_model(structure.model), structure.inputs, structure.graph, observe)
    return find_merges(build_groups(structure.graph), found)


def _folds(structure: Structure, exact: bool, merges: tuple[Merge, ...]) -> list[Fold]:
    """Runs the masked model to learn what its sums add up."""
    found: list[Contribution] = []
    model, graph = structure.model, structure.graph
    follow_dependence(copy_model(model), structure.inputs, graph, lambda step: found.extend(contributions(step)))
    return find_folds(graph, model, found, exact=exact, carrying={merge.tensor for merge in merges})


def _error(
    live: nn.Module, masked: nn.Module, plan: Plan, inputs: ExampleInputs, kept: Callable[[Draws], Draws]
) -> tuple[float, bool]:
    """How far the compact model is from the one that was given with its masks ``live``; whether any value is finite.

    Choices between equal values are those of the ``masked`` one, whose masks are permanent; of its random numbers the
    compact one gets what is ``kept``.
    """
    given = copy_model(live)
    with plain_kernels(given):
        wanted = output_tensors(run_model(given, inputs))
    structure = with_values(masked, inputs, ALL)
    draws = kept(structure.decisions.draws)
    found = compact_outputs(apply_plan(masked, plan), inputs, structure.graph, structure.decisions, draws=draws)
    return _difference(found, wanted), any(bool(tensor.isfinite().any()) for tensor in wanted)


def _error_of_cuts(dense: Dense, structure: Structure, analysis: Analysis, realised: Realised) -> float:
    """The proof that ``prune`` makes: no folds, against the masked model with the removed channels silenced."""
    masked, inputs, decisions = copy_model(dense.model), dense.inputs, structure.decisions
    wanted, draws, _ = reference_outputs(
        masked, inputs, analysis, realised.expectation, decisions, followed=realised.followed
    )
    return _difference(
        compact_outputs(
            apply_plan(masked, realised.plan), inputs, analysis.graph, decisions, realised.expectation, draws=draws
        ),
        wanted,
    )


def _difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """How far they are apart; a masked model that returns zeros alone, or some NaN, must be met to the last bit."""
    if telling(wanted):
        return relative_error(found, wanted)
    pairs = list(zip(found, wanted, strict=True))
    same = all(
        one.shape == other.shape and torch.allclose(one, other, 0.0, 0.0, equal_nan=True) for one, other in pairs
    )
    return 0.0 if same else math.inf


def other_inputs(inputs: ExampleInputs) -> ExampleInputs:
    """Random inputs of the same shapes and spread; whole numbers are shuffled, so that they stay in range."""
    generator = torch.Generator().manual_seed(SEED)

    def other(leaf: Tensor) -> Tensor:
        leaf = leaf.detach()
        if leaf.dtype.is_floating_point and bool(torch.isfinite(leaf).all()):
            spread = float(leaf.std()) if leaf.numel() > 1 else 0.0
            noise = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype).to(leaf.device)
            return leaf.mean() + noise * (spread or 1.0)
        order = torch.randperm(leaf.numel(), generator=generator).to(leaf.device)
        return leaf.flatten()[order].reshape(leaf.shape)

    return map_tensors(other, inputs)  # type: ignore[no-any-return]
