"""A whole network on the engine: compiled once for a size of picture, then one call of the library a picture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from sapwood.arguments import described
from sapwood.errors import EngineError
from sapwood.export import plain_copy
from sapwood.graph import trace, trace_shapes
from sapwood.ops import Graph
from sapwood.runtime.allocator import give_back
from sapwood.runtime.cores import available_cores
from sapwood.runtime.engine import library, saved
from sapwood.runtime.engine.assembly import Sides, Timed
from sapwood.runtime.engine.batches import all_in_rows, mixes_batches
from sapwood.runtime.engine.checking import placed
from sapwood.runtime.engine.choice import told
from sapwood.runtime.engine.confirmed import confirm, confirmation_key, is_confirmed, run_hash
from sapwood.runtime.engine.deciding import assembled
from sapwood.runtime.engine.encoding import Encoded, encode, with_own_tables
from sapwood.runtime.engine.inputs import InputSpec, checked, refuse_tracing
from sapwood.runtime.engine.lengths import Lengths, recorded_lengths
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.lowering import owned
from sapwood.runtime.engine.nodes import Network, Outside
from sapwood.runtime.engine.quick import QuickCall
from sapwood.runtime.engine.rules import lower_run
from sapwood.types import ExampleInputs

MOST_THREADS = 1024

KEPT_LENGTHS = 8
"""Networks for fewer tokens that are kept for the next call."""

ENGINE_TOLERANCE = 1e-3
"""How far the results of a new program may be from the model's, as a fraction of the largest."""


class CompiledModel(nn.Module):
    """A network on the engine: a module without parameters, for evaluation.

    Args:
        source: The network.
        encoded: Gives the network as it is stored.
        threads: Of a call of the engine; all cores unless given.
        tune: As for :func:`compile`.
        examples: What it is timed on where it is chosen who runs what; numbers drawn at random where None.
        sides: Who runs what, where that is known.
        lengths: What networks for fewer tokens follow from.

    Attributes:
        steps: Its operations, in order.
        threads: Of a call.
        outside: The calls that PyTorch runs, for the engine has no such operation.
        choice: Who runs the rest, and the times that speak for it.
        lengths: What networks for fewer tokens follow from; None where all inputs are of one length.
    """

    def __init__(
        self,
        source: Lowered,
        encoded: Callable[[], Encoded],
        *,
        threads: int | None = None,
        tune: bool = True,
        examples: Sequence[Tensor] | None = None,
        sides: Sides | None = None,
        lengths: Lengths | None = None,
    ) -> None:
        super().__init__()
        self.eval()
        self.threads = _num_threads(threads)
        self._whole: dict[int, Tensor] = {}
        self._made: dict[int, CompiledModel]
        self._form, self._constants, self._specs = source.form, source.constants, source.inputs
        self._outputs, self._alone = source.network.outputs, source.alone
        self._single = source.form.is_leaf() and not source.constants
        self.choice, self._assembly = assembled(source, self.threads, tune=tune, examples=examples, sides=sides)
        self.lengths, self._made = lengths, {}
        self._quick = QuickCall.of(self._assembly, self._specs, self.threads)
        self.steps = self._assembly.steps
        self._encoded = encoded
        self.outside = [node for node in source.network.nodes if isinstance(node, Outside)]

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it."""
        return sum(part.num_bytes for part in self._assembly.parts)

    def forward(self, *inputs: Tensor) -> Any:
        """Runs pictures one after the other: tensors of the shapes and types it was compiled for, any batch.

        Floating-point numbers of other types are rounded to float32, in which the network computes.

        Returns:
            What the model returns.

        Raises:
            EngineError: If inputs are no tensors, or of other shapes or types than it was compiled for.
        """
        found = self._quick(inputs) if self._quick is not None else None
        if found is None:
            shorter = self._shorter(inputs)
            if shorter is not None:
                return shorter(*inputs)
            found = self._assembly.run(self._checked(inputs))
        if self._single:
            return found[0]
        tensors = iter(found)
        places, constants = range(self._form.num_leaves), self._constants
        return tree_unflatten(
            [constants[place] if place in constants else next(tensors) for place in places], self._form
        )

    def timed(self, *inputs: Tensor) -> Timed:
        """Milliseconds of each operation for the first picture."""
        times: Timed = []
        self._assembly.run([tensor[:1] for tensor in self._checked(inputs)], times)
        return times

    def explain(self, *inputs: Tensor) -> str:
        """Every operation in order: module, what is done, the fraction of its weights that is zero, milliseconds.

        A convolution, or linear layer, that is ``dense`` multiplies with its zeros: that was faster than to skip them.
        What PyTorch runs is named below, with the reason.

        Args:
            inputs: What is run for the times, as for :meth:`forward`. Without, pictures of zeros; for whole numbers,
                which may be places in a table, those that the model was compiled with.

        Raises:
            EngineError: If the model fails on them.
        """
        picture = inputs or tuple(
            self._whole.get(number, torch.zeros(1, *spec.shape, dtype=spec.dtype))
            for number, spec in enumerate(self._specs)
        )
        try:
            steps = self.timed(*picture)
        except (RuntimeError, IndexError) as error:
            given = "these inputs" if inputs else "zeros, which is what explain() runs it on; expected inputs for it"
            raise EngineError(f"the model fails on {given}: {error}") from error
        lines = [f"{'module':40}{'operation':28}{'zeros':>8}{'ms':>10}"]
        for step, milliseconds in steps:
            zeros = f"{1.0 - step.nonzeros / step.weights:.1%}" if step.weights else ""
            label = step.label or ("(engine)" if step.own else "(model)")
            lines.append(f"{label:40}{step.kind + ', dense' * step.dense:28}{zeros:>8}{milliseconds:10.3f}")
        lines += [
            f"in PyTorch: {node.op.overloadpacket} in module {node.label or '(the model)'!r}{_at(node)}: {node.reason}"
            for node in self.outside
        ]
        lines += told(self.choice, self._assembly)
        return "\n".join(lines)

    def save(self, directory: str | Path) -> Path:
        """Writes a directory that :func:`load` reads on any machine: JSON, and safetensors in which a zero takes a bit.

        Raises:
            EngineError: If the model returns what only its own code knows, or calls operators that no file may name.
            ConfigError: If ``directory`` holds files, and no compiled network.
        """
        return saved.write(self._encoded(), directory)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModel:
        """Another one, which may run at the same time; the weights, which nobody changes, are the same."""
        twin = self.__copy__()
        memo[id(self)] = twin
        twin.__dict__ = {name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()}
        return twin

    def __copy__(self) -> CompiledModel:
        """Another module over the same programs."""
        twin = type(self).__new__(type(self))
        twin.__dict__ = dict(self.__dict__)
        return twin

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """A program is good in its own process.

        Raises:
            EngineError: Always.
        """
        raise EngineError(
            "a compiled model cannot be pickled, nor saved by torch.save: write it with .save(directory), and read it "
            "with sapwood.runtime.load(directory)"
        )

    def _shorter(self, inputs: Sequence[Any]) -> CompiledModel | None:
        """The network for fewer tokens, where these are so few; the last few that were made are kept."""
        length = self.lengths.of(inputs) if self.lengths is not None else None
        if self.lengths is None or length is None or length == self.lengths.most:
            return None
        if length not in self._made:
            source = self.lengths.lowered(length)
            while len(self._made) >= KEPT_LENGTHS:
                self._made.pop(next(iter(self._made)))
            self._made[length] = CompiledModel(
                source, self._encoded, threads=self.threads, tune=False, sides=self.choice.sides
            )
        return self._made[length]

    def _checked(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        refuse_tracing("a compiled model")
        try:
            given = checked(inputs, self._specs)
        except EngineError as error:
            if self.lengths is None:
                raise
            places = ", ".join(f"dimension {dim} of input {number}" for number, dim in self.lengths.places)
            raise EngineError(f"{error}, and for {self.lengths.fewest} to {self.lengths.most} in {places}") from None
        if len(given[0]) > 1 and (self._alone or not all_in_rows(self._outputs)):
            why = "what it makes of one picture depends on the others" if self._alone else "an output has no batch"
            raise EngineError(f"a batch of {len(given[0])}; {why}, so that it is one picture a call")
        return given


def _tensors(example_inputs: ExampleInputs) -> tuple[Tensor, ...]:
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    if not isinstance(given, tuple | list) or not given:
        raise EngineError(f"example inputs are {described(example_inputs)}; expected a tensor or a tuple of tensors")
    for number, one in enumerate(given):
        if not isinstance(one, Tensor):
            raise EngineError(f"example input {number} is {described(one)}; expected a tensor or a tuple of tensors")
    if any(one.dim() == 0 for one in given):
        raise EngineError("an example input is a single number; expected tensors with a batch")
    return tuple(given)


def compile(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    threads: int | None = None,
    tune: bool = True,
    length_dim: int | None = None,
) -> CompiledModel:
    """Compiles a model in evaluation mode for the sparse engine: zeros in its weights cost nothing.

    Operations that the engine lacks run in PyTorch, picture by picture; :meth:`CompiledModel.explain` names them.

    Args:
        model: Read only; masks of ``torch.nn.utils.prune`` count.
        example_inputs: Tensors of the shapes it will run on.
        threads: Of a call, on the engine and in PyTorch; all cores unless given.
        tune: Try on this machine how convolutions go through their maps, and which parts PyTorch runs faster; what was
            tried is remembered. Without, a fixed rule, and the engine runs what it can.
        length_dim: A dimension of the inputs in which later ones may be shorter than the examples: that of tokens.
            Inputs that are as long there as the first one follow. Networks for other lengths are made when they are
            first needed.

    Raises:
        EngineMissingError: If the engine is not built.
        EngineError: If weights are NaN or infinite, the model changes a part of a map in place that cannot be put back
            into the whole, or its next operation depends on values; or if its calls do not follow the length of
            ``length_dim``.

    Examples:
        >>> conv = nn.Conv2d(3, 8, 3, padding=1)
        >>> fast = compile(nn.Sequential(conv, nn.ReLU()), torch.rand(1, 3, 16, 16), threads=1)
        >>> picture = torch.rand(1, 3, 16, 16)
        >>> bool(torch.allclose(fast(picture), conv(picture).relu(), atol=1e-5))
        True
    """
    library.library()
    given = _tensors(example_inputs)
    one = tuple(picture[:1] for picture in given)
    plain = plain_copy(model, sharing=length_dim is None)
    graph, result, valued = _recorded(plain, one)
    tensors = owned(plain, graph)
    run = run_hash(graph, tensors)
    source = _lowered(lower_run(graph, tensors), one, result)
    source = replace(source, alone=all_in_rows(source.network.outputs) and mixes_batches(plain, given, run))
    stored = encode(source)
    source = with_own_tables(source, stored)
    lengths = None
    if length_dim is not None:
        lengths = recorded_lengths(one, length_dim, stored, lambda fewer: encode(_recorded_lowered(plain, fewer)))
    timed_on = given if all_in_rows(source.network.outputs) and not source.alone else one
    compiled = CompiledModel(source, lambda: stored, threads=threads, tune=tune, examples=timed_on, lengths=lengths)
    compiled._whole = {number: tensor.clone() for number, tensor in enumerate(one) if not tensor.is_floating_point()}
    how = [compiled._assembly.described(), source.form, source.constants, compiled.threads]
    key = confirmation_key(run, one, how) if lengths is None else None
    del source, graph, tensors, result
    if not is_confirmed(key):
        _confirm(compiled, plain, one)
        if valued:
            _confirm_other_values(compiled, plain, one)
        confirm(key)
    give_back()
    return compiled


def _recorded(plain: nn.Module, inputs: Sequence[Tensor]) -> tuple[Graph, Any, bool]:
    """A run of the model, what it returned, and whether it had values: only where it did not end without them."""
    try:
        return *trace_shapes(plain, tuple(inputs)), False
    except Exception:  # whatever it is: what is wrong with the model itself, a run with values says
        return trace(plain, tuple(inputs)), _returned(plain, inputs), True


def _lowered(network: Network, inputs: Sequence[Tensor], result: Any) -> Lowered:
    leaves, form = tree_flatten(result)
    constants = {place: leaf for place, leaf in enumerate(leaves) if not isinstance(leaf, Tensor)}
    return Lowered(network, tuple(map(InputSpec.of, inputs)), form, constants)


def _recorded_lowered(plain: nn.Module, inputs: Sequence[Tensor]) -> Lowered:
    """A model in the engine's terms."""
    graph, result, _ = _recorded(plain, inputs)
    return _lowered(lower_run(graph, owned(plain, graph)), inputs, result)


def _returned(plain: nn.Module, inputs: Sequence[Tensor]) -> Any:
    with torch.no_grad():
        return plain(*inputs)


def _confirm(compiled: CompiledModel, plain: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Compares what a new program returns with what the model does, of fewer tokens, too, where it takes them."""
    given = [inputs]
    if compiled.lengths is not None:
        given.append(compiled.lengths.shortened(inputs, compiled.lengths.other))
    for one in given:
        _check(tree_flatten(compiled(*one))[0], tree_flatten(_returned(plain, one))[0])


def _confirm_other_values(compiled: CompiledModel, plain: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Compares on inputs of other values: code may have read those of the example inputs, by what is no call.

    Raises:
        EngineError: If the program is that of the example inputs alone.
    """
    from sapwood.export import random_like

    generator = torch.Generator().manual_seed(0)
    others = [random_like(one, generator, power=3.0) for one in inputs]
    found, wanted = tree_flatten(compiled(*others))[0], tree_flatten(_returned(plain, others))[0]
    try:
        _check(found, wanted, "inputs of other values")
    except EngineError as error:
        raise EngineError(
            f"{error}; on the example inputs it is not: the model's code reads values past PyTorch's calls, as numpy() "
            "and tolist() do, and those of the example inputs would be used for all"
        ) from None


def load(directory: str | Path, *, threads: int | None = None, tune: bool = True) -> CompiledModel:
    """Reads what :meth:`CompiledModel.save` or ``sapwood compile`` wrote; nothing in the files is executed.

    Args:
        directory: Where they are.
        threads: As for :func:`compile`.
        tune: As for :func:`compile`.

    Raises:
        EngineMissingError: If the engine is not built.
        EngineError: If a file is missing, damaged or of another version.
    """
    library.library()
    threads = _num_threads(threads)
    source, digest = saved.read(directory)
    place = Path(directory).absolute()
    with placed(Path(directory) / saved.NETWORK_NAME, "the program"):
        compiled = CompiledModel(source, lambda: _again(place, digest), threads=threads, tune=tune)
    del source
    give_back()
    return compiled


def _num_threads(threads: int | None) -> int:
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int)):
        raise EngineError(f"threads is {described(threads)}; expected a whole number")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise EngineError(f"threads {threads}; expected at least 1, at most {MOST_THREADS}")
    return threads or available_cores()


def _again(place: Path, digest: str) -> Encoded:
    """What was loaded, to be saved again: it is not kept in memory."""
    source, found = saved.read(place)
    if found != digest:
        raise EngineError(f"{place}: has changed since it was loaded; load it again before it is saved elsewhere")
    return encode(source)


def _check(found: Sequence[Any], wanted: Sequence[Any], on: str = "the example inputs") -> None:
    """Compares what a new program returns with what the model does.

    Whole numbers are choices between values that may be almost equal: of a model that returns nothing else most have to
    agree.
    """
    pairs = [(one, other) for one, other in zip(found, wanted, strict=True) if isinstance(other, Tensor)]
    if not any(bool(other.isfinite().any()) for _, other in pairs):
        raise EngineError(
            f"nothing was compared: no value that the model returns for {on} is finite; expected inputs for which some "
            "are"
        )
    choices = sum(other.numel() for _, other in pairs)
    differing = sum(int((one != other).sum()) for one, other in pairs)
    if not any(other.is_floating_point() for _, other in pairs) and 2 * differing > choices:
        raise EngineError(
            f"{differing} of {choices} whole numbers that the compiled network returns for {on} are not "
            "the model's; expected at most half, of values that are almost equal"
        )
    for one, other in pairs:
        if not other.is_floating_point() or not other.numel():
            continue
        largest = float(other[other.isfinite()].abs().max()) if bool(other.isfinite().any()) else 1.0
        if not torch.allclose(
            one.double(), other.double(), rtol=ENGINE_TOLERANCE, atol=ENGINE_TOLERANCE * largest, equal_nan=True
        ):
            raise EngineError(
                f"the compiled network is {float((one - other).abs().max()):.3g} away from the model on {on}, "
                f"whose results reach {largest:.3g}; expected at most {ENGINE_TOLERANCE:g} of that"
            )


def _at(node: Outside) -> str:
    """Where the model's code makes a call, if that is known."""
    return f" at {node.location}" if node.location else ""
