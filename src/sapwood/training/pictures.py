"""Decoded training pictures, kept in memory as far as the budget goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from sapwood.data import LabelledPicture, shrink
from sapwood.errors import ImageError, TrainingError


class PictureCache:
    """Reads labelled pictures once and keeps the first that fit.

    Every epoch meets every picture once, so what is kept is as likely to be wanted as what is not: nothing is evicted.
    Pictures are shrunk before they are kept, and whether one is kept never changes it.

    Args:
        readers: Reads each picture with its boxes.
        max_side: Longer side in pixels that pictures are shrunk to.
        budget_bytes: Memory for pixels.
        on_bad: What an unreadable picture does: ``"error"`` raises, ``"skip"`` puts the next readable one in its place.

    Attributes:
        skipped: For each unreadable picture met, by number, what was wrong with it.
    """

    def __init__(
        self,
        readers: Sequence[Callable[[], LabelledPicture]],
        *,
        max_side: int,
        budget_bytes: int,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        self._readers = readers
        self._max_side = max_side
        self._room = budget_bytes
        self._on_bad = on_bad
        self._kept: dict[int, LabelledPicture] = {}
        self._lock = threading.Lock()
        self.skipped: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._readers)

    def read(self, index: int) -> tuple[int, LabelledPicture]:
        """Returns one picture with its boxes, and the number of the picture that was really read.

        Raises:
            ImageError: If it cannot be read and ``on_bad`` is ``"error"``.
            TrainingError: If no picture at all can be read.
        """
        for offset in range(len(self)):
            number = (index + offset) % len(self)
            if number in self.skipped:
                continue
            try:
                return number, self._read(number)
            except ImageError as error:
                if self._on_bad == "error":
                    raise
                self.skipped[number] = str(error)
        raise TrainingError(f"none of the {len(self)} training pictures can be read; the first: {self.skipped[index]}")

    def _read(self, number: int) -> LabelledPicture:
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        example = shrink(self._readers[number](), self._max_side)
        with self._lock:
            if number not in self._kept and example.picture.nbytes <= self._room:
                self._room -= example.picture.nbytes
                self._kept[number] = example
        return example
