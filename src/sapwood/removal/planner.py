"""The search for a plan that a model's code can follow: less and less, where code is in the way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import nn

from sapwood.errors import CheckFailedError
from sapwood.graph import (
    OUTPUT,
    Analysis,
    OtherCallsError,
    Outputs,
    Structure,
    Unpruned,
    askers,
    evaluated_alone,
    read_names,
    with_values,
)
from sapwood.models import ConfigFields, Cut, Ignored, Plan, copy_model, whole_parts, whole_tensors
from sapwood.ops import Axis
from sapwood.removal.blame import blame
from sapwood.removal.build import Obstacle, OnlyWithValuesError, Realised, realise
from sapwood.removal.constraints import Constraints
from sapwood.removal.cuts import make_cuts
from sapwood.removal.dense import Dense
from sapwood.removal.orders import reached
from sapwood.removal.proof import PROOF_TOLERANCE, Verification, verify
from sapwood.types import ExampleInputs

MAX_ROUNDS = 40

MAX_IN_VAIN = 2
"""How many rounds in a row may meet an obstacle by which nothing more can stay whole; the next would be the same."""

MAX_BLAMED = 12
"""How often a part is kept whole because the model without it is not right; each time takes two runs more."""


class Picked(Protocol):
    """What goes, and whatever else its maker wants to find again in the solution."""

    @property
    def removed(self) -> Axis:
        """The units that go, sorted."""
        ...


PickedT = TypeVar("PickedT", bound=Picked)

Select: TypeAlias = Callable[[Analysis], PickedT]
"""Chooses what goes."""

Prove: TypeAlias = "Callable[[Dense, Structure, Analysis, Realised], Verification]"
"""Whether what a plan makes is right."""


@dataclass(frozen=True)
class Solution(Generic[PickedT]):
    """A plan that works.

    Attributes:
        analysis: What it was made on.
        realised: The plan, and what it makes.
        verification: The proof.
        chosen: What ``select`` chose in the round that worked.
    """

    analysis: Analysis
    realised: Realised
    verification: Verification
    chosen: PickedT


def resized_outputs(solution: Solution[Any]) -> tuple[str, ...]:
    """Names of the model's outputs that lost indices with the channels, since nobody counts on their sizes."""
    graph, expectation = solution.analysis.graph, solution.realised.expectation
    named = zip(graph.output_names, graph.outputs, strict=True)
    return tuple(name for name, ref in named if ref.id in graph.resizable and expectation.changed(ref))


class Planner:
    """Plans for one model, one after the other; what its code does not let change is learned once.

    Args:
        model: The model; not touched.
        inputs: Its example inputs.
        ignore: What must stay whole, as for :func:`sapwood.models.whole_tensors`.
        outputs: Which of the model's outputs count; see :func:`sapwood.graph.counting`.
        loose: Whether any channels that are shuffled may go, as :class:`sapwood.removal.Constraints` says.
        fields: What a config says of the widths, if the compact model is to be what one builds.
        training: Whether what only training runs is cut along: of a model that has such, a run as in training is
            recorded and proven, too, if its code does one on the example inputs.

    Attributes:
        fault: Why what only training runs was left as it was, if anything; not where that run reads no more.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: ExampleInputs,
        ignore: Ignored = None,
        outputs: Outputs | None = None,
        *,
        loose: bool = True,
        fields: ConfigFields | None = None,
        training: bool = False,
    ) -> None:
        self.fault = ""
        self._dense = Dense(model, inputs, outputs)
        self._constraints = Constraints({**whole_parts(model), **whole_tensors(model, ignore)}, loose=loose)
        self._unsaid = self._constraints.again()  # widths that no config says meet other obstacles
        self._fields = fields
        found = self._dense.structure(values=False, training_too=training)
        both = found if found.graph.trained_from is not None else None
        self._structure = found if both is None else replace(found, graph=found.graph.evaluated_alone)
        self._plain = self._dense, self._structure
        asking = found.asking if found.asking is not None or not training else askers(model, found.graph)
        if asking:
            self._train_too(self._dense.in_training(asking), both, values=found.asking is not None)
        if self._structure is self._plain[1]:
            self._structure = evaluated_alone(self._structure)

    def _train_too(self, dense: Dense, structure: Structure | None, *, values: bool) -> None:
        """Records the run in training mode as well, unless it is; where it reads more than the other, it counts.

        With ``values`` where it could not be recorded without.
        """
        try:
            structure = structure or dense.structure(values=values)
        except Exception as error:  # the model's own code may fail in any way
            self.fault = " ".join(str(error.__cause__ or error).split())
            return
        known = read_names(self._structure.graph)
        if not read_names(structure.graph) > known:
            return
        more = _only_trained(self._constraints.analyse(structure.graph), known)
        stays = {(one.tensor, one.dim) for one in self.analysis().unpruned} if more else set()
        self.fault = next((f"{one.tensor} {one.reason}" for one in more if (one.tensor, one.dim) not in stays), "")
        if not self.fault:
            self._dense, self._structure = dense, structure

    @property
    def shared(self) -> dict[str, str]:
        """What copies share with the model, as it cannot be copied: names, and the classes of what they name."""
        return self._dense.shared

    def cut(self, plan: Plan) -> nn.Module:
        """The model that a plan makes; what was proven, where that is of this plan."""
        return self._dense.cut(plan)

    def analysis(self) -> Analysis:
        """The channel groups under what is known so far."""
        return self._constraints.analyse(self._structure.graph)

    def solve(
        self, select: Select[PickedT], *, prove: Prove | None = None, as_config: bool = True
    ) -> Solution[PickedT]:
        """Finds a plan whose compact model runs and equals the masked one.

        Args:
            select: Chooses the units that go, given the groups.
            prove: As for :func:`rounds`; :func:`unproven` finds a plan that runs and asks no more.
            as_config: Whether the config has to say the widths, where :class:`Planner` was given what it can say.

        Raises:
            CheckFailedError: If there is none.
        """
        if self._fields is None or as_config:
            return self._solve(select, prove, self._fields)
        own, self._constraints = self._constraints, self._unsaid
        try:
            return self._solve(select, prove, None)
        finally:
            self._unsaid, self._constraints = self._constraints, own

    def _solve(self, select: Select[PickedT], prove: Prove | None, fields: ConfigFields | None) -> Solution[PickedT]:
        if self._structure.graph.trained_from is None:
            return self._solved(select, prove, fields)
        fresh = self._constraints
        self._constraints = fresh.again()
        try:
            found = self._solved(select, prove, fields)
            if not self._constraints.last:
                return found
            self.fault = self._constraints.last
        except (CheckFailedError, OtherCallsError) as error:
            found, self.fault = None, str(error)
        trained = self._dense, self._structure, self._constraints
        self._dense, self._structure, self._constraints = self._plain[0], evaluated_alone(self._plain[1]), fresh
        plain = self._solved(select, prove, fields)
        if found is None or _gone(found, plain) < _gone(plain, plain):
            return plain
        self._dense, self._structure, self._constraints = trained
        self.fault = ""
        return found

    def _solved(self, select: Select[PickedT], prove: Prove | None, fields: ConfigFields | None) -> Solution[PickedT]:
        try:
            return rounds(self._dense, self._structure, select, self._constraints, prove=prove, fields=fields)
        except OnlyWithValuesError:
            self._structure = self._dense.structure(values=True)
            return rounds(self._dense, self._structure, select, self._constraints, prove=prove, fields=fields)


def _only_trained(analysis: Analysis, known: Collection[str]) -> list[Unpruned]:
    """What stays whole of known parameters, but for what calls of the evaluated model, or its outputs, give as reason.

    The run as in training comes behind, and finds them frozen.
    """
    graph = analysis.graph
    ends = tuple({f" in {call}" for call in graph.evaluated})

    def is_evaluated(reason: str) -> bool:
        return reason == OUTPUT or reason.startswith(f"{OUTPUT}: ") or reason.endswith(ends)

    return [one for one in analysis.unpruned if one.tensor in known and not is_evaluated(one.reason)]


def _gone(solution: Solution[Any], plain: Solution[Any]) -> int:
    """How many indices went of the parameters that the evaluated model reads."""
    known = plain.analysis.shapes
    return sum(cut.width - len(cut.kept) for cut in solution.realised.plan.cuts if cut.tensor in known)


def rounds(
    dense: Dense,
    structure: Structure,
    select: Select[PickedT],
    constraints: Constraints,
    *,
    prove: Prove | None = None,
    fields: ConfigFields | None = None,
) -> Solution[PickedT]:
    """Selects and realises until nothing is in the way any more.

    Args:
        dense: The model.
        structure: Its recorded run.
        select: Chooses the units that go, given the groups.
        constraints: What must stay whole; obstacles that are met are added to it.
        prove: Judges a plan that runs. By default against the dense model with the removed channels silenced, recorded
            again with them at zero where its code reads values; another ``prove`` compares with the model as it is.
        fields: What a config says of the widths, if the compact model is to be what one builds.

    Raises:
        CheckFailedError: If no plan runs, or what one makes is wrong.
    """
    done = blamed = in_vain = 0
    untouched = structure
    while done < MAX_ROUNDS and in_vain <= MAX_IN_VAIN:
        done += 1
        analysis = constraints.analyse(structure.graph)
        chosen = select(analysis)
        removed = chosen.removed
        if prove is None and structure.graph.reads_values and not structure.graph.is_settled:
            if len(removed):
                structure, analysis, removed = _as_if_removed(dense, constraints, analysis, removed)
            elif structure is not untouched:  # with nothing at zero the code may go on for longer, or stop before
                structure = untouched
                continue
        outcome = realise(structure, analysis, removed, fields, tries=constraints.tries)
        if isinstance(outcome, Obstacle):
            more = [
                constraints.add(structure.graph, obstacle, stiffer=reached(analysis, obstacle.call))
                for obstacle in (outcome, *outcome.peers)
            ]
            in_vain = 0 if any(more) else in_vain + 1
            continue
        try:
            verification = (prove or verify)(dense, structure, analysis, outcome)
        except (RuntimeError, OtherCallsError) as error:
            if next(iter(dense.model.parameters())).device != next(iter(structure.model.parameters())).device:
                raise OnlyWithValuesError from error
            if isinstance(error, OtherCallsError):
                raise
            raise CheckFailedError(
                f"the compact model fails where the dense one runs: {error}. The model given is unchanged."
            ) from error
        if verification.passed:
            return Solution(analysis, outcome, verification, chosen)
        if outcome.doubt is not None and constraints.add(structure.graph, outcome.doubt):
            continue
        blamed += 1
        blamed_on = None if prove or blamed > MAX_BLAMED else blame(dense, structure, analysis, outcome)
        if blamed_on is None or not constraints.add(
            structure.graph, blamed_on, stiffer=reached(analysis, blamed_on.call)
        ):
            raise _differs(verification, constraints)
    raise CheckFailedError(f"no compact model after {done} rounds; the last obstacle: {constraints.last}")


def _differs(verification: Verification, constraints: Constraints) -> CheckFailedError:
    """That keeping parts whole was in vain."""
    last = f" The last obstacle: {constraints.last}." if constraints.last else ""
    return CheckFailedError(
        f"the compact model differs from the masked one by {verification.max_abs_error:.1e} of the largest output; "
        f"expected at most {PROOF_TOLERANCE:.0e}.{last} The model given is unchanged."
    )


def _as_if_removed(
    dense: Dense, constraints: Constraints, analysis: Analysis, removed: Axis
) -> tuple[Structure, Analysis, Axis]:
    """Records a model whose code reads values (a detector's boxes) again with the removed channels at zero.

    What it finds, and so the calls it makes, is then what the compact model will find.
    """
    cuts = make_cuts(analysis, removed)
    silenced = copy_model(dense.model)
    silence_(silenced, cuts)
    structure = with_values(silenced, dense.inputs, dense.counted, most=dense.most)
    structure = replace(structure, model=dense.model)  # of which the same stays, so that the copy is needed no more
    again = constraints.analyse(structure.graph)
    gone = {(cut.tensor, cut.dim): np.isin(np.arange(cut.width), cut.kept, invert=True) for cut in cuts}
    units = [
        unit
        for group in again.groups
        for position, unit in enumerate(group.units)
        if all(
            (member.tensor, member.dim) in gone and gone[member.tensor, member.dim][member.column == position].all()
            for member in group.members
        )
    ]
    return structure, again, np.array(sorted(units), dtype=np.int64)


def silence_(model: nn.Module, cuts: tuple[Cut, ...]) -> None:
    """Sets the slices that ``cuts`` remove from parameters to zero."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for cut in cuts:
            if cut.tensor in parameters:
                gone = sorted(set(range(cut.width)) - set(cut.kept))
                parameters[cut.tensor].index_fill_(cut.dim, torch.tensor(gone), 0.0)
