"""``torch-compile``: ``torch.compile`` with frozen weights, as PyTorch is deployed on a CPU. Loading takes seconds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import MeasureError, MissingDependencyError, SapwoodError
from sapwood.export import plain_copy, plain_tensors
from sapwood.graph import call_model, output_tensors
from sapwood.runtime.base import RUNTIMES, Session
from sapwood.runtime.calling import torch_threads
from sapwood.types import ExampleInputs

MANY = 1 << 16
"""Models of one class that may be compiled in a process: beyond PyTorch's limit of 8 it would silently run eager."""


class CompiledSession:
    """A compiled copy of a model; what it fuses hides the layers, so that it cannot time them."""

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs, threads: int) -> None:
        self._inputs = example_inputs
        self._threads = threads
        self._compiled: Any = torch.compile(plain_copy(model), dynamic=False, options={"freezing": True})

    def __call__(self) -> object:
        """Runs once."""
        with torch_threads(self._threads), torch.no_grad():
            return call_model(self._compiled, self._inputs)

    def outputs(self) -> list[Tensor]:
        """Returns the output tensors of one run."""
        return plain_tensors(output_tensors(self()))

    def layer_times(self, rounds: int) -> None:
        """Returns None."""
        del rounds


class TorchCompile:
    """PyTorch's compiler."""

    name = "torch-compile"
    tells_layers = False

    def version(self) -> str:
        """Returns PyTorch's version."""
        return str(torch.__version__)

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Compiles a copy of the model and runs it twice, which is when the compiler does its work."""
        with _quiet_compiler():
            try:
                session = CompiledSession(model, example_inputs, threads)
                for _ in range(2):
                    session()
            except SapwoodError:
                raise
            except Exception as error:
                raise _explained(model, error) from error
        return session


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """No warnings and log lines of the compiler inside, and no silent fall-back to eager."""
    logger = logging.getLogger("torch._inductor")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            torch._dynamo.config.patch(
                recompile_limit=MANY, accumulated_recompile_limit=MANY, fail_on_recompile_limit_hit=True
            ),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _explained(model: nn.Module, error: Exception) -> SapwoodError:
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    text = " ".join(f"{type(one).__name__} {one}" for one in chain)
    if "InvalidCxxCompiler" in text or "No working C++ compiler" in text:
        return MissingDependencyError(
            "torch-compile needs a C++ compiler and found none; expected g++ or clang++ on the PATH, or CXX set to one"
        )
    line = str(error).strip().partition("\n")[0]
    return MeasureError(f"torch.compile cannot compile {type(model).__name__}: {type(error).__name__}: {line}")


RUNTIMES.register("torch-compile")(TorchCompile())
