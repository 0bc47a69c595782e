"""The dispatch mode that all of Sapwood's are made of, and what it asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class CallMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Meets every ATen call, with :func:`nothing_compiled` around it.

    PyTorch hides what a mode does from ``torch.compile``. For that it loads the whole compiler at the first call, which
    takes a second of each process, and makes each call dearer. Where no code is compiled, there is nothing to hide.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Within it, functions and modules that ``torch.compile`` made run as they are written.

    Examples:
        >>> with nothing_compiled():
        ...     torch.compile(torch.neg)(torch.ones(1)).item()
        -1.0
    """
    stance = getattr(torch.compiler, "set_stance", None)  # PyTorch has it since 2.6; before, it hid no mode either
    if stance is None or "torch._dynamo" not in sys.modules:
        yield
        return
    with stance("force_eager"):
        yield
