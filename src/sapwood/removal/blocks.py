"""Whole residual branches removed: which can go, the plan that takes them out, and its proof."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError, SapwoodError
from sapwood.graph import (
    Branch,
    OtherCallsError,
    Outputs,
    Replay,
    Structure,
    find_blocks,
    leaving_no_trace,
    output_tensors,
    plain_kernels,
    run_model,
)
from sapwood.models import (
    Gives,
    Ignored,
    Plan,
    Removal,
    apply_plan,
    framework_of,
    quieten_,
    whole_parts,
    whole_tensors,
    wide_copy,
)
from sapwood.ops import Call
from sapwood.removal.dense import Dense
from sapwood.removal.difference import lively_copy, relative_error
from sapwood.removal.proof import PROOF_TOLERANCE, Verification
from sapwood.types import ExampleInputs


class MaskedBranches(Replay):
    """Runs the dense model with the results of some branches at zero where they are added.

    Args:
        calls: Of the recorded run.
        off: The index of each such call, and which of its operands is the branch.
    """

    def __init__(self, calls: Sequence[Call], off: Mapping[int, int]) -> None:
        super().__init__(calls)
        self._off = dict(off)

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call, with zeros for the branch."""
        operand = self._off.pop(call.index, None)
        if operand is not None:
            args[operand].zero_()
        return self.pass_on(func, args, kwargs)

    def stray(self, call: Call, func: Any) -> None:
        """Another way through the code, as other boxes make it, is none of its business behind the last branch."""
        if self._off:
            super().stray(call, func)


@dataclass(frozen=True)
class Form:
    """What a module returns.

    Attributes:
        entries: How many entries its tuple has; None of a tensor.
        known: Whether it is a tensor, or a tuple that begins with one.
    """

    entries: int | None
    known: bool


class Blocks:
    """The residual blocks of a model, and the model without some of them.

    Args:
        model: The model; not touched.
        inputs: Its example inputs.
        ignore: What must stay whole, as for :func:`sapwood.models.whole_tensors`: so does a block that holds it.
        outputs: Which of the model's outputs count; see :func:`sapwood.graph.counting`.

    Attributes:
        model: The model.
        inputs: Its example inputs.
        ignored: What must stay whole, as it was given.
        found: Those that may go, in the order of the run.
        refused: All others by name, with the reason.
    """

    def __init__(
        self, model: nn.Module, inputs: ExampleInputs, ignore: Ignored = None, outputs: Outputs | None = None
    ) -> None:
        self.model, self.inputs, self.ignored = model, inputs, ignore
        self._dense = Dense(model, inputs, outputs)
        self._structure = self._recorded()
        self._forms = _forms(self._structure)
        self._plans: dict[frozenset[str], Plan] = {}
        whole = {**whole_parts(model), **whole_tensors(model, ignore)}
        every = [self._judged(block, whole) for block in find_blocks(self._structure.graph)]
        every = self._tried(every)
        self.found = tuple(block for block in every if not block.refused)
        self.refused = {block.name: block.refused for block in every if block.refused}

    def plan(self, names: Sequence[str]) -> Plan:
        """What takes out the blocks of these names; not proven."""
        return self._planned([block for block in self.found if block.name in set(names)])

    def proven(self, names: Sequence[str]) -> Verification:
        """Compares the model without these blocks with the dense one in which their results are zeros, in float64.

        :meth:`plan` gives what was proven from then on.

        Raises:
            CheckFailedError: If the model without them does not run, or is not right.
        """
        done = self._proven([block for block in self.found if block.name in set(names)])
        if not done.passed:
            raise CheckFailedError(
                f"without {', '.join(names)} the model differs from the one in which their results are zeros by "
                f"{done.max_abs_error:.1e} of the largest output; expected at most {PROOF_TOLERANCE:.0e}. The model "
                "given is unchanged."
            )
        return done

    def far(self, compact: nn.Module) -> float | None:
        """How far a smaller model is from the dense one in float64; None where that tells nothing."""
        if self._structure.graph.reads_values:
            return None
        inputs, dense = self._dense.inputs, self._dense.model
        far = relative_error(
            _run(quieten_(wide_copy(compact).eval()), inputs), _run(dense, inputs, self._structure.graph.written)
        )
        return far if math.isfinite(far) else None

    def stays_in(self, plan: Plan) -> Ignored:
        """What must stay whole, by the names in the model that a plan leaves, which are the same."""
        del plan
        return self.ignored

    def _judged(self, block: Branch, whole: Mapping[str, str]) -> Branch:
        """A block with the reason why it stays, where its tensors must stay or its modules return what is not known."""
        if block.refused:
            return block
        framework = framework_of(self.model)
        if framework.describes:
            return replace(block, refused=f"files of {framework.title} have no word for a block that is not there")
        for name, reason in whole.items():
            if block.holds(name.partition("[")[0].rpartition(".")[0]):
                return replace(block, refused=reason)
        for module in block.modules:
            if not self._forms[module].known:
                return replace(block, refused=f"{module} returns neither a tensor nor a tuple that begins with one")
        return block

    def _tried(self, blocks: Sequence[Branch]) -> list[Branch]:
        """Blocks with the reason why one cannot go, where the model without it does not run or is not right."""
        able = [block for block in blocks if not block.refused]
        if not able or self._is_right(able):
            return list(blocks)
        return [block if block.refused else self._tried_alone(block) for block in blocks]

    def _is_right(self, blocks: Sequence[Branch]) -> bool:
        try:
            return self._proven(blocks).passed
        except SapwoodError:
            return False

    def _tried_alone(self, block: Branch) -> Branch:
        try:
            done = self._proven([block])
        except SapwoodError as error:
            return replace(block, refused=str(error))
        if done.passed:
            return block
        return replace(block, refused=f"without it the model differs from the masked one by {done.max_abs_error:.1e}")

    def _planned(self, blocks: Sequence[Branch]) -> Plan:
        """The plan that was proven, or the first whose model runs."""
        key = frozenset(block.name for block in blocks)
        if key not in self._plans:
            ways = self._ways(blocks)
            self._plans[key] = next((plan for plan in ways if self._runs(plan)), ways[-1])
        return self._plans[key]

    def _ways(self, blocks: Sequence[Branch]) -> list[Plan]:
        """What may stand for the modules, the cheapest first."""
        inner = [block for block in blocks if not any(block.calls < other.calls for other in blocks)]
        collapsed = self._collapsed(inner)
        zeros: tuple[Gives, ...] = ("zero", "zeros")
        return [
            Plan(removed=(*whole.values(), *self._parts(inner, whole, zero)))
            for whole in ((collapsed, {}) if collapsed else ({},))
            for zero in zeros
        ]

    def _parts(self, blocks: Iterable[Branch], whole: Mapping[str, Removal], zero: Gives) -> Iterator[Removal]:
        for block in blocks:
            for module in block.modules:
                if not any(module.startswith(f"{name}.") for name in whole):
                    gives = zero if module in block.last else "input"
                    yield Removal(module, gives, self._forms[module].entries)

    def _collapsed(self, blocks: Sequence[Branch]) -> dict[str, Removal]:
        """The modules of which nothing is left but the addition, and a rectifier at most: they return what they get."""
        graph = self._structure.graph
        calls = graph.looked_at.union(*(block.calls for block in blocks), (block.add for block in blocks))
        found: dict[str, Removal] = {}
        for name in dict.fromkeys(graph.calls[block.add].module for block in blocks):
            left = [call for call in graph.calls if name in call.modules and call.index not in calls]
            known = bool(name) and self._forms[name].known
            if known and not [call for call in left if not call.facts.rectifies] and len(left) < 2:
                found[name] = Removal(name, "relu" if left else "input", self._forms[name].entries)
        return found

    def _runs(self, plan: Plan) -> bool:
        """Whether the model of a plan runs and returns tensors of the same shapes; costs nothing without values."""
        structure = self._structure
        try:
            found = _run(apply_plan(structure.model, plan), structure.inputs)
        except Exception:  # the model's own code may fail in any way on what stands for its modules
            return False
        shapes = [tuple(tensor.shape) for tensor in found]
        return structure.graph.reads_values or shapes == [ref.shape for ref in structure.graph.outputs]

    def _proven(self, blocks: Sequence[Branch]) -> Verification:
        """The proof of the first plan that is right; that of the last where none is."""
        done = Verification(math.inf, "float64", passed=False)
        for plan in [plan for plan in self._ways(blocks) if self._runs(plan)] or self._ways(blocks)[-1:]:
            done = self._proof(blocks, plan)
            if done.passed:
                self._plans[frozenset(block.name for block in blocks)] = plan
                break
        return done

    def _proof(self, blocks: Sequence[Branch], plan: Plan) -> Verification:
        """The proof of one plan; on other values where these branches add nothing as it is."""
        error, moved = self._compared(self._dense.model, blocks, plan)
        if moved == 0.0 and blocks and not self._structure.graph.reads_values:
            error = max(error, self._compared(lively_copy(self._dense.model), blocks, plan)[0])
        far = moved if math.isfinite(moved) and not self._structure.graph.reads_values else None
        return Verification(error, "float64", error <= PROOF_TOLERANCE, distance_from_dense=far)

    def _compared(self, model: nn.Module, blocks: Sequence[Branch], plan: Plan) -> tuple[float, float]:
        """How far a model without blocks is from the masked one, and that from the dense one."""
        inputs = self._dense.inputs
        try:
            found = _run(apply_plan(model, plan), inputs)
        except Exception as error:  # as above
            raise CheckFailedError(
                f"without it the model's code fails: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        off = {block.add: block.operand for block in blocks}
        return relative_error(found, wanted := self._masked(model, off)), relative_error(
            wanted, _run(model, inputs, self._structure.graph.written)
        )

    def _masked(self, model: nn.Module, off: Mapping[int, int]) -> list[Tensor]:
        """What the dense model returns with these branches at zero."""
        masked = MaskedBranches(self._structure.graph.calls, off)
        with leaving_no_trace(model, self._structure.graph.written), plain_kernels(model), masked:
            return output_tensors(run_model(model, self._dense.inputs))

    def _recorded(self) -> Structure:
        """The model's run, on shapes alone where it makes the same calls with values."""
        self._structure = self._dense.structure(values=False)
        with suppress(OtherCallsError):
            self._masked(self._dense.model, {-1: 0})
            return self._structure
        return self._dense.structure(values=True)


def _run(model: nn.Module, inputs: ExampleInputs, written: Collection[str] = ()) -> list[Tensor]:
    with leaving_no_trace(model, written), plain_kernels(model):
        return output_tensors(run_model(model, inputs))


def _forms(structure: Structure) -> dict[str, Form]:
    """What each module returns."""
    found: dict[str, Form] = {}
    handles = []

    def seen(name: str) -> Any:
        def hook(_: nn.Module, __: Any, result: Any) -> None:
            first = result[0] if type(result) is tuple and result else result
            entries = len(result) if type(result) is tuple else None
            found[name] = Form(entries, isinstance(first, Tensor) and (entries is None or name != ""))

        return hook

    with leaving_no_trace(structure.model):
        for name, module in structure.model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_hook(seen(name)))
        _run(structure.model, structure.inputs, structure.graph.written)
    return found
