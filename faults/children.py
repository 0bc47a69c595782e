"""The command in processes of its own, forked from one that has imported everything, so that a fault costs little."""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

FORK = multiprocessing.get_context("fork")
SIGN = ".sapwood-"
"""In the name of each temporary folder that Sapwood makes beside a result."""
PIPE_BYTES = 1 << 20
LONGEST = 600.0
"""Seconds; a verb that takes longer hangs."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: The exit code; negative for a signal.
        out: What was printed.
        err: What was printed to standard error.
        seconds: How long it took.
    """

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Child:
    """A run under way."""

    process: BaseProcess
    pipes: tuple[int, int]
    began: float

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.is_alive()

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()

    def wait(self) -> Ended:
        """Waits until it has ended; one that hangs is killed."""
        self.process.join(LONGEST)
        if self.alive:
            self.kill()
            self.process.join()
        out, err = (_read(pipe) for pipe in self.pipes)
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, out, err, time.perf_counter() - self.began)


def start(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    prepare: Callable[[], None] | None = None,
    out: int | None = None,
) -> Child:
    """Starts ``sapwood ARGUMENTS``.

    Args:
        arguments: Of the command.
        environment: Added to this process's.
        prepare: Called in the child first.
        out: Standard output; a pipe if not given.
    """
    (read_out, write_out), (read_err, write_err) = _pipe(), _pipe()

    def run() -> None:
        os.dup2(write_out if out is None else out, 1)
        os.dup2(write_err, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.environ.update(environment)
        sys.argv = ["sapwood", *arguments]
        if prepare is not None:
            prepare()
        from sapwood.cli import main

        main(list(arguments))

    sys.stdout.flush()
    sys.stderr.flush()
    process = FORK.Process(target=run)
    began = time.perf_counter()
    process.start()
    os.close(write_out)
    os.close(write_err)
    return Child(process, (read_out, read_err), began)


def limit_files(size: int) -> None:
    """No file of this process may be larger than ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def drop_privileges() -> None:
    """Goes on without what lets root write where nobody may."""
    if os.geteuid() == 0:
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
            raise OSError(ctypes.get_errno(), "cannot drop capabilities")


def own_mounts() -> str | None:
    """Gives this process a view of the mounts of its own, gone with it; returns why not, where that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private, recursive = 0x20000, 1 << 18, 1 << 14
    if os.geteuid() != 0:
        return "only root can mount file systems"
    if libc.unshare(new_namespace) != 0 or libc.mount(b"none", b"/", None, recursive | private, None) != 0:
        return f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}"
    return None


def mount(kind: bytes | None, source: Path, target: Path, flags: int, options: str = "") -> None:
    """Mounts a file system.

    Raises:
        OSError: If the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), kind, flags, options.encode() or None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {target}")


def unmount(target: Path) -> None:
    """Takes it away."""
    ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(target), 2)


def wait_for_writing(folder: Path, child: Child) -> None:
    """Returns as soon as the child has a temporary folder of Sapwood's anywhere in ``folder``, or has ended."""
    while child.alive and not any(SIGN in name for _, names, _ in os.walk(folder) for name in names):
        time.sleep(0.0002)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def _read(pipe: int) -> str:
    with open(pipe, "rb") as file:
        return file.read().decode(errors="replace")
