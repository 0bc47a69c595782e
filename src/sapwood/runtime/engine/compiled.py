"""A whole network on the engine: compiled once for a size of picture, then one call of the library a picture."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from sapwood.arguments import described
from sapwood.errors import EngineError
from sapwood.export import plain_copy
from sapwood.ops import mapped
from sapwood.runtime.allocator import give_back
from sapwood.runtime.cores import available_cores
from sapwood.runtime.engine import library, saved
from sapwood.runtime.engine.checking import placed
from sapwood.runtime.engine.encoding import Encoded, encode
from sapwood.runtime.engine.inputs import InputSpec, checked, refuse_tracing
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.nodes import Input, Outside, Read, Value
from sapwood.runtime.engine.partition import EnginePart, partition
from sapwood.runtime.engine.planning import Planned, Step, plan
from sapwood.runtime.engine.rules import lower
from sapwood.runtime.engine.tuning import Tuner
from sapwood.types import ExampleInputs

Values: TypeAlias = dict[Value, Tensor]
Timed: TypeAlias = list[tuple[Step, float]]


MOST_THREADS = 1024

ENGINE_TOLERANCE = 1e-3
"""How far the results of a new program may be from the model's, as a fraction of the largest."""


class CompiledModel(nn.Module):
    """A network on the engine: a module without parameters, for evaluation.

    Args:
        source: The network.
        encoded: Gives the network as it is stored.
        threads: Of a call of the engine; all cores unless given.
        tune: As for :func:`compile`.

    Attributes:
        steps: Its operations, in order.
        threads: Of a call.
        outside: The calls that PyTorch runs.
    """

    def __init__(
        self,
        source: Lowered,
        encoded: Callable[[], Encoded],
        *,
        threads: int | None = None,
        tune: bool = True,
    ) -> None:
        super().__init__()
        self.eval()
        self.threads = _num_threads(threads)
        self._whole: dict[int, Tensor] = {}
        self._form, self._constants, self._specs = source.form, source.constants, source.inputs
        self._inputs = [node.out for node in source.network.nodes if isinstance(node, Input)]
        self._outputs = source.network.outputs
        tuner = Tuner(self.threads, file=source.file) if tune else None
        self._parts = [
            _Program(part, plan(part.network, tuner, source.file), self.threads)
            if isinstance(part, EnginePart)
            else _Calls(part.nodes)
            for part in partition(source.network)
        ]
        if tuner is not None:
            tuner.save()
        self.steps = [step for part in self._parts for step in part.steps]
        self._encoded = encoded
        self.outside = [node for node in source.network.nodes if isinstance(node, Outside)]

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it."""
        return sum(part.num_bytes for part in self._parts)

    def forward(self, *inputs: Tensor) -> Any:
        """Runs pictures one after the other: tensors of the shapes and types it was compiled for, any batch.

        Floating-point numbers of other types are rounded to float32, in which the network computes.

        Returns:
            What the model returns.

        Raises:
            EngineError: If inputs are no tensors, or of other shapes or types than it was compiled for.
        """
        given = self._checked(inputs)
        found = [self._run([tensor[number : number + 1] for tensor in given]) for number in range(len(given[0]))]
        tensors = iter(found[0] if len(found) == 1 else [torch.cat(pictures) for pictures in zip(*found, strict=True)])
        places, constants = range(self._form.num_leaves), self._constants
        return tree_unflatten(
            [constants[place] if place in constants else next(tensors) for place in places], self._form
        )

    def timed(self, *inputs: Tensor) -> Timed:
        """Milliseconds of each operation for the first picture."""
        times: Timed = []
        self._run([tensor[:1] for tensor in self._checked(inputs)], times)
        return times

    def explain(self, *inputs: Tensor) -> str:
        """Every operation in order: module, what is done, the fraction of its weights that is zero, milliseconds.

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
            lines.append(f"{step.label or '(engine)':40}{step.kind:28}{zeros:>8}{milliseconds:10.3f}")
        lines += [
            f"in PyTorch: {node.op.overloadpacket} in module {node.label or '(the model)'!r} at {node.location}: "
            f"{node.reason}"
            for node in self.outside
        ]
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

    def _run(self, pictures: Sequence[Tensor], times: Timed | None = None) -> list[Tensor]:
        values = dict(zip(self._inputs, pictures, strict=True))
        for part in self._parts:
            part.run(values, times)
        return [values[value].reshape(shape) for value, shape in self._outputs]

    def _checked(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        refuse_tracing("a compiled model")
        given = checked(inputs, self._specs)
        if len(given[0]) > 1 and any(shape[:1] != (1,) for _, shape in self._outputs):
            raise EngineError(f"a batch of {len(given[0])}; an output has no batch, so that it is one picture a call")
        return given


class _Program:
    """A part that is a program of the library."""

    def __init__(self, part: EnginePart, planned: Planned, threads: int) -> None:
        self._part, self._program, self._threads = part, planned.program, threads
        self.steps = planned.steps
        self._rows = part.network.numbers_of_rows()

    @property
    def num_bytes(self) -> int:
        return self._program.num_bytes

    def run(self, values: Values, times: Timed | None) -> None:
        given = [self._plain(values[value], value) for value in self._part.reads]
        for tensor, value in zip(given, self._part.reads, strict=True):
            self._check(tensor, value)
        found = {value: torch.empty(shape) for value, shape in self._part.network.outputs}
        pictures = given, list(found.values())
        if times is None:
            self._program.run(*pictures, self._threads)
        else:
            spent = self._program.timed(*pictures, self._threads)
            times += [(step, time / 1e6) for step, time in zip(self.steps, spent, strict=True)]
        values.update(found)

    def _plain(self, tensor: Tensor, value: Value) -> Tensor:
        """Its numbers one after the other; those of rows become floats, in which each of them is exact."""
        return (tensor.float() if value in self._rows else tensor).contiguous().resolve_neg()

    def _check(self, tensor: Tensor, value: Value) -> None:
        size = self._part.network.sizes[value]
        if tensor.dtype is not torch.float32 or tensor.numel() != math.prod(size):
            raise EngineError(f"{tensor.dtype} of shape {tuple(tensor.shape)}; expected a float32 map of {size}")


class _Calls:
    """A part that PyTorch runs."""

    num_bytes = 0

    def __init__(self, calls: Sequence[Outside]) -> None:
        self._calls = calls
        self.steps = [Step(call.label, f"{call.op.overloadpacket} (PyTorch)") for call in calls]

    def run(self, values: Values, times: Timed | None) -> None:
        for call, step in zip(self._calls, self.steps, strict=True):
            start = time.perf_counter()
            with torch.no_grad():
                values.update(_called(call, values))
            if times is not None:
                times.append((step, 1e3 * (time.perf_counter() - start)))


def _called(call: Outside, values: Mapping[Value, Tensor]) -> Values:
    """Runs a call of PyTorch; what it would change in place is copied before."""

    def argument(given: Any) -> Any:
        return values[given.value].reshape(given.shape) if isinstance(given, Read) else given

    args, kwargs = mapped(argument, call.args), mapped(argument, dict(call.kwargs))
    op: Callable[..., Any] = call.op
    if call.op._schema.is_mutable:
        args = (args[0].clone(), *args[1:])
    tensors = [one for one in tree_flatten(op(*args, **kwargs))[0] if isinstance(one, Tensor)]
    if len(tensors) != len(call.outs):
        raise EngineError(f"{call.op} returns {len(tensors)} tensors; expected {len(call.outs)}")
    return dict(zip(call.outs, tensors, strict=True))


def _tensors(example_inputs: ExampleInputs) -> tuple[Tensor, ...]:
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    if not isinstance(given, tuple | list) or not given or not all(isinstance(one, Tensor) for one in given):
        raise EngineError(
            f"example inputs of type {type(example_inputs).__name__}; expected a tensor or a tuple of tensors"
        )
    if any(one.dim() == 0 for one in given):
        raise EngineError("an example input is a single number; expected tensors with a batch")
    return tuple(given)


def compile(
    model: nn.Module, example_inputs: ExampleInputs, *, threads: int | None = None, tune: bool = True
) -> CompiledModel:
    """Compiles a model in evaluation mode for the sparse engine: zeros in its weights cost nothing.

    Operations that the engine lacks run in PyTorch, picture by picture; :meth:`CompiledModel.explain` names them.

    Args:
        model: Read only; masks of ``torch.nn.utils.prune`` count.
        example_inputs: Tensors of the shapes it will run on.
        threads: Of a call; all cores unless given. What PyTorch runs takes its own number.
        tune: Try how convolutions go through their maps, once for a machine and shape; a fixed rule else.

    Raises:
        EngineMissingError: If the engine is not built.
        EngineError: If weights are NaN or infinite, the model changes a map in place that it reads by another name, or
            its next operation depends on values.

    Examples:
        >>> conv = nn.Conv2d(3, 8, 3, padding=1)
        >>> fast = compile(nn.Sequential(conv, nn.ReLU()), torch.rand(1, 3, 16, 16), threads=1)
        >>> picture = torch.rand(1, 3, 16, 16)
        >>> bool(torch.allclose(fast(picture), conv(picture).relu(), atol=1e-5))
        True
    """
    library.library()
    one = tuple(picture[:1] for picture in _tensors(example_inputs))
    plain = plain_copy(model)
    network = lower(plain, one)
    with torch.no_grad():
        leaves, form = tree_flatten(plain(*one))
    constants = {place: leaf for place, leaf in enumerate(leaves) if not isinstance(leaf, Tensor)}
    source = Lowered(network, tuple(map(InputSpec.of, one)), form, constants)
    stored = encode(source)
    compiled = CompiledModel(source, lambda: stored, threads=threads, tune=tune)
    compiled._whole = {number: tensor.clone() for number, tensor in enumerate(one) if not tensor.is_floating_point()}
    del source, network
    _check(tree_flatten(compiled(*one))[0], leaves)
    give_back()
    return compiled


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


def _check(found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Compares what a new program returns for the example inputs with what the model does.

    Whole numbers are choices between values that may be almost equal: of a model that returns nothing else most have to
    agree.
    """
    pairs = [(one, other) for one, other in zip(found, wanted, strict=True) if isinstance(other, Tensor)]
    if not any(bool(other.isfinite().any()) for _, other in pairs):
        raise EngineError(
            "nothing was compared: no value that the model returns for the example inputs is finite; expected inputs "
            "for which some are"
        )
    choices = sum(other.numel() for _, other in pairs)
    differing = sum(int((one != other).sum()) for one, other in pairs)
    if not any(other.is_floating_point() for _, other in pairs) and 2 * differing > choices:
        raise EngineError(
            f"{differing} of {choices} whole numbers that the compiled network returns for the example inputs are not "
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
                f"the compiled network is {float((one - other).abs().max()):.3g} away from the model on the example "
                f"inputs, whose results reach {largest:.3g}; expected at most {ENGINE_TOLERANCE:g} of that"
            )
