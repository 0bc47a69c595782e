"""A whole network on the engine: compiled once for a size of picture, then one call of the library a picture."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from sapwood.errors import EngineError
from sapwood.export.flat import plain_copy
from sapwood.runtime.engine.planning import Step, plan
from sapwood.runtime.engine.rules import lower
from sapwood.runtime.engine.tuning import Tuner
from sapwood.types import ExampleInputs


class CompiledModel:
    """A network on the engine.

    Attributes:
        steps: Its operations, in order.
        threads: Of a call.
    """

    def __init__(
        self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int | None = None, tune: bool = True
    ) -> None:
        if threads is not None and threads < 1:
            raise EngineError(f"threads {threads}; expected at least 1")
        one = tuple(picture[:1] for picture in _tensors(example_inputs))
        plain = plain_copy(model)
        network = lower(plain, one)
        with torch.no_grad():
            leaves, self._form = tree_flatten(plain(*one))
        self._leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.threads = threads or available_cores()
        tuner = Tuner(self.threads) if tune else None
        planned = plan(network, tuner)
        if tuner is not None:
            tuner.save()
        self.steps: list[Step] = planned.steps
        self._program = planned.program
        self._shapes = [tuple(picture.shape[1:]) for picture in one]
        self._outputs = [shape for _, shape in network.outputs]

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it."""
        return self._program.num_bytes

    def __call__(self, *inputs: Tensor) -> Any:
        """Runs pictures one after the other: tensors of the shapes it was compiled for, any batch.

        Returns:
            What the model returns, float32.

        Raises:
            EngineError: If shapes are others than it was compiled for.
        """
        given = self._checked(inputs)
        count = len(given[0])
        found = [torch.empty(count, *shape) for shape in self._outputs]
        for number in range(count):
            self._program.run(
                [tensor[number].data_ptr() for tensor in given],
                [tensor[number].data_ptr() for tensor in found],
                self.threads,
            )
        tensors = iter(found)
        return tree_unflatten([next(tensors) if leaf is None else leaf for leaf in self._leaves], self._form)

    def timed(self, *inputs: Tensor) -> list[tuple[Step, float]]:
        """Milliseconds of each operation for the first picture."""
        given = self._checked(inputs)
        found = [torch.empty(1, *shape) for shape in self._outputs]
        times = self._program.timed(
            [tensor.data_ptr() for tensor in given], [tensor.data_ptr() for tensor in found], self.threads
        )
        return [(step, time / 1e6) for step, time in zip(self.steps, times, strict=True)]

    def explain(self) -> str:
        """Every operation in order: module, what is done, the fraction of its weights that is zero, milliseconds.

        Times are of one run on a picture of zeros.
        """
        picture = [torch.zeros(1, *shape) for shape in self._shapes]
        lines = [f"{'module':40}{'operation':16}{'zeros':>8}{'ms':>10}"]
        for step, milliseconds in self.timed(*picture):
            zeros = f"{1.0 - step.nonzeros / step.weights:.1%}" if step.weights else ""
            lines.append(f"{step.label or '(engine)':40}{step.kind:16}{zeros:>8}{milliseconds:10.3f}")
        return "\n".join(lines)

    def _checked(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
        if shapes != self._shapes or len({len(tensor) for tensor in inputs}) != 1:
            raise EngineError(
                f"inputs of shapes {[tuple(one.shape) for one in inputs]}; compiled for batches of {self._shapes}"
            )
        return [tensor.detach().to("cpu", torch.float32).contiguous() for tensor in inputs]


def _tensors(example_inputs: ExampleInputs) -> tuple[Tensor, ...]:
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    if not isinstance(given, tuple | list) or not given or not all(isinstance(one, Tensor) for one in given):
        raise EngineError(
            f"example inputs of type {type(example_inputs).__name__}; expected a tensor or a tuple of tensors"
        )
    return tuple(given)


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compile(
    model: nn.Module, example_inputs: ExampleInputs, *, threads: int | None = None, tune: bool = True
) -> CompiledModel:
    """Compiles a model in evaluation mode for the sparse engine: zeros in its weights cost nothing.

    Args:
        model: Read only; masks of ``torch.nn.utils.prune`` count.
        example_inputs: Tensors of the shapes it will run on.
        threads: Of a call; all cores unless given.
        tune: Try how convolutions go through their maps, once for a machine and shape; a fixed rule else.

    Raises:
        EngineMissingError: If the engine is not built.
        EngineError: If it lacks an operation of the model, which is named, or weights are NaN or infinite.

    Examples:
        >>> conv = nn.Conv2d(3, 8, 3, padding=1)
        >>> fast = compile(nn.Sequential(conv, nn.ReLU()), torch.rand(1, 3, 16, 16), threads=1)
        >>> picture = torch.rand(1, 3, 16, 16)
        >>> bool(torch.allclose(fast(picture), conv(picture).relu(), atol=1e-5))
        True
    """
    return CompiledModel(model, example_inputs, threads=threads, tune=tune)
