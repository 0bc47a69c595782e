"""A fault, and what must be true after it: nothing lost, nothing half there, a message, and a second run that works."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import children
from children import Child, Ended
from states import State, litter, state_of
from verbs import Verb, command

PAGE = 4096
REMOUNT, BIND, READ_ONLY = 32, 4096, 1


@dataclass
class Subject:
    """A verb with what its runs leave when nothing goes wrong.

    Attributes:
        verb: The verb.
        old: What stands in the place before, to be copied; None if nothing does.
        before: Its state.
        after: The state after the new run.
        sizes: Bytes of the files that the new run writes.
        seconds: How long that takes.
    """

    verb: Verb
    old: Path | None
    before: State
    after: State
    sizes: list[int]
    seconds: float


@dataclass
class Case:
    """One fault on one verb, in a folder of its own.

    Attributes:
        subject: The verb.
        folder: Where its result and its cache go, and nothing else.
        dice: What is random.
        with_old: Whether an earlier result stands in the place.
        problems: What was found.
        last: How what stands in the place differs from what should.
    """

    subject: Subject
    folder: Path
    dice: random.Random
    with_old: bool
    problems: list[str] = field(default_factory=list)
    last: str = ""

    @property
    def place(self) -> Path | None:
        """Where the result goes."""
        name = self.subject.verb.place
        return None if name is None else self.folder / name

    @property
    def before(self) -> State:
        """What stands there before the fault."""
        return self.subject.before if self.with_old else {}

    def lay_out(self) -> None:
        """Puts what stood there before into the folder."""
        old, place = self.subject.old, self.place
        self.with_old = old is not None and (self.with_old or self.subject.verb.name == "report")
        if self.with_old and old is not None and place is not None:
            for one in sorted(old.iterdir()):
                copy = shutil.copytree if one.is_dir() else shutil.copy2
                copy(one, self.folder / one.name)

    def start(
        self,
        prepare: Callable[[], None] | None = None,
        *,
        arguments: tuple[str, ...] | None = None,
        more: tuple[str, ...] = (),
        out: int | None = None,
    ) -> Child:
        """Starts the verb, or another command about the same place."""
        chosen = command(arguments or (*self.subject.verb.new, *more), self.place)
        environment = {"XDG_CACHE_HOME": str(self.folder / "cache"), "COLUMNS": "200"}
        return children.start(chosen, environment, prepare, out)

    def expect(self, holds: bool, problem: str, ended: Ended | None = None) -> None:
        """Notes a problem, with the end of what was printed, unless something holds."""
        if not holds:
            said = "" if ended is None else f" (exit code {ended.code}; {(ended.err or ended.out)[-600:].strip()!r})"
            self.problems.append(f"{problem}{said}")

    def check_place(self, when: str) -> bool:
        """Everything is as it was, or as it should be; returns whether it is the latter."""
        if self.place is None:
            return True
        found, before, after = state_of(self.place), self.before, self.subject.after
        damaged = {name: what for name, what in found.items() if what.startswith("damaged")}
        self.expect(not damaged, f"{when}: {damaged}")
        if self.subject.verb.at_once:
            self.expect(found in (before, after), f"{when}: neither the old nor the new: {_difference(found, after)}")
        else:
            self.expect(before.keys() <= found.keys(), f"{when}: lost {sorted(before.keys() - found.keys())}")
        self.last = "" if after.items() <= found.items() else _difference(found, after)
        return not self.last

    def check_message(self, ended: Ended) -> None:
        """A run that could not write says so in one line that names the file, and exits with 2."""
        about = (str(self.folder), "standard output")
        said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        self.expect(ended.code == 2, "expected exit code 2", ended)
        self.expect("Traceback" not in ended.err, "a traceback", ended)
        self.expect(bool(said) and any(one in ended.err for one in about), "no message that names the file", ended)

    def check_second_run(self) -> None:
        """The same command works afterwards and leaves no litter; it goes on where there is something to go on with."""
        verb = self.subject.verb
        begun = verb.checkpoint is not None and self.place is not None and (self.place / verb.checkpoint).exists()
        ended = self.start(more=verb.again if begun else ()).wait()
        self.expect(ended.code == 0, "the second run failed", ended)
        same = self.check_place("after the second run")
        self.expect(same, f"the second run gave something else: {self.last}")
        if self.place is not None:
            left = [one for one in litter(self.folder) if not one.startswith(str(self.folder / "cache"))]
            self.expect(not left, f"litter: {left}")


def kill(case: Case) -> None:
    """SIGKILL at a random moment of the run, or a moment after it began to write."""
    child = case.start()
    if case.dice.random() < 0.5:
        time.sleep(case.dice.random() * case.subject.seconds)
    else:
        children.wait_for_writing(case.folder, child)
        time.sleep(case.dice.random() ** 2 * 0.05)
    child.kill()
    ended = child.wait()
    case.expect(ended.code in (0, -9), "it ended by itself", ended)
    done = case.check_place("after the kill")
    case.expect(done or ended.code != 0, "it ended well without its result", ended)
    case.check_second_run()


def size_limit(case: Case) -> None:
    """No file may be larger than a random size below that of the largest."""
    largest = max(case.subject.sizes, default=PAGE)
    limit = case.dice.randrange(largest)
    _limited(case, case.start(lambda: children.limit_files(limit)).wait())


def full_disk(case: Case) -> None:
    """A file system with less room than the result needs."""
    room = sum(-(-size // PAGE) * PAGE for size in case.subject.sizes) + 8 * PAGE
    with _mounted(case, case.dice.randrange(1, room // PAGE) * PAGE):
        _limited(case, case.start().wait())


def _limited(case: Case, ended: Ended) -> None:
    """A run that may have failed: for lack of room, and for nothing else."""
    if ended.code == 0:
        case.expect("Traceback" not in ended.err, "a traceback", ended)
        case.expect(case.check_place("after it ended well"), "it ended well without its result", ended)
        return
    case.check_message(ended)
    case.check_place("after it failed")
    if case.folder.is_mount():
        children.mount(b"tmpfs", Path("tmpfs"), case.folder, REMOUNT, "size=256m")
    case.check_second_run()


def read_only(case: Case) -> None:
    """A file system that cannot be written."""
    children.mount(None, case.folder, case.folder, BIND)
    try:
        children.mount(None, case.folder, case.folder, BIND | REMOUNT | READ_ONLY)
        _refused(case, case.start().wait())
    finally:
        children.unmount(case.folder)


def no_permission(case: Case) -> None:
    """A folder in which nobody may write."""
    folders = [case.folder, *(one for one in case.folder.rglob("*") if one.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    _refused(case, case.start(children.drop_privileges).wait())
    for folder in folders:
        folder.chmod(0o755)


def _refused(case: Case, ended: Ended) -> None:
    if case.place is None:
        case.expect(ended.code == 0, "a cache that cannot be written was an error", ended)
        case.expect("warning: not kept for the next time" in ended.err, "no warning", ended)
    else:
        case.check_message(ended)
        case.expect(state_of(case.place) == case.before, "it changed something")


def two_writers(case: Case) -> None:
    """Two processes write the same place at the same time."""
    verb = case.subject.verb
    others = verb.old if verb.old and verb.name != "report" else verb.new
    both = [case.start(arguments=verb.new), case.start(arguments=others)]
    ended = [child.wait() for child in both]
    case.expect(any(one.code == 0 for one in ended), "neither of the two worked", ended[0])
    for one in ended:
        told = one.code == 0 or (one.code == 2 and ("another process" in one.err or "holds a run already" in one.err))
        case.expect(told and "Traceback" not in one.err, "one of the two failed", one)
    if case.place is not None:
        found = state_of(case.place)
        wanted = (case.subject.after, case.subject.before)
        case.expect(any(one.items() <= found.items() for one in wanted), "neither the one nor the other")
        case.expect(not litter(case.folder), f"litter: {litter(case.folder)}")


def full_output(case: Case) -> None:
    """What is printed goes to a full disk; what is written is there all the same."""
    more = () if case.subject.verb.name == "report" else ("--json",)
    out = os.open("/dev/full", os.O_WRONLY)
    ended = case.start(more=more, out=out).wait()
    os.close(out)
    case.check_message(ended)
    case.expect(case.check_place("after it"), "the result is not there", ended)


def closed_pipe(case: Case) -> None:
    """Nobody reads what is printed."""
    read, write = os.pipe()
    os.close(read)
    ended = case.start(out=write).wait()
    os.close(write)
    case.expect(ended.code == 141, "expected exit code 141", ended)
    case.expect("Traceback" not in ended.err and "error" not in ended.err, "it did not end quietly", ended)
    case.check_place("after it")


FAULTS: Mapping[str, Callable[[Case], None]] = {
    "kill": kill,
    "full disk": full_disk,
    "size limit": size_limit,
    "read-only": read_only,
    "no permission": no_permission,
    "two writers": two_writers,
    "full output": full_output,
    "closed pipe": closed_pipe,
}
NEED_MOUNTS = frozenset({"full disk", "read-only"})


@contextmanager
def _mounted(case: Case, size: int) -> Iterator[None]:
    """A small file system in the case's folder, with what stood there and room for ``size`` more bytes."""
    children.mount(b"tmpfs", Path("tmpfs"), case.folder, 0, "size=256m")
    try:
        case.lay_out()
        children.mount(b"tmpfs", Path("tmpfs"), case.folder, REMOUNT, f"size={_used(case.folder) + size}")
        yield
    finally:
        children.unmount(case.folder)


def _used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _difference(found: State, wanted: State) -> str:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return f"{[(name, found.get(name), wanted.get(name)) for name in names]}"
