"""Pictures of a batch over threads: each thread takes the next picture, with an arena of its own."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count as counting

from torch import Tensor

from sapwood.runtime.engine.program import Program

Pictures = Sequence[Tensor]


class ProgramCrew:
    """Copies of a program over the same weights, made when a batch first needs them.

    A thread a picture beats several threads in each: nobody waits at the end of every operation. Pictures that are left
    over, fewer than threads, go through one after the other with all threads in each.

    Args:
        program: Of one picture.
        threads: Of a call.
    """

    def __init__(self, program: Program, threads: int) -> None:
        self._programs, self._threads = [program], threads
        self._growing = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Memory that the library holds for it and for its copies, of which each counts what it shares as well."""
        return sum(program.num_bytes for program in self._programs)

    @property
    def first(self) -> Program:
        """The program."""
        return self._programs[0]

    def run(self, inputs: Callable[[int], Pictures], outputs: Callable[[int], Pictures], count: int) -> None:
        """Runs ``count`` pictures, whose tensors are given by number.

        Raises:
            EngineError: If one of them fails.
        """
        shared = count - count % self._threads if self._threads > 1 else 0
        if shared:
            numbers = counting()
            self._each(lambda program: _run_some(program, inputs, outputs, numbers, shared))
        for number in range(shared, count):
            self.first.run(inputs(number), outputs(number), self._threads)

    def _each(self, work: Callable[[Program], None]) -> None:
        """Does the work with every copy, each in a thread; the caller's is one of them."""
        with self._growing:
            while len(self._programs) < self._threads:
                self._programs.append(copy.deepcopy(self.first))
        errors: list[BaseException] = []

        def guarded(program: Program) -> None:
            try:
                work(program)
            except BaseException as error:  # raised again below, in the caller's thread
                errors.append(error)

        others = [threading.Thread(target=guarded, args=(one,), daemon=True) for one in self._programs[1:]]
        for thread in others:
            thread.start()
        guarded(self.first)
        for thread in others:
            thread.join()
        if errors:
            raise errors[0]

    def __deepcopy__(self, memo: dict[int, object]) -> ProgramCrew:
        """Another one over the same weights."""
        return ProgramCrew(copy.deepcopy(self.first, memo), self._threads)


def _run_some(
    program: Program,
    inputs: Callable[[int], Pictures],
    outputs: Callable[[int], Pictures],
    numbers: Iterator[int],
    end: int,
) -> None:
    while (number := next(numbers)) < end:
        program.run(inputs(number), outputs(number), 1)
