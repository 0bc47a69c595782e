"""What every kind of row has: fields and their bounds, the name a reader sees in the table, what makes its candidate.

What makes a candidate imports what it needs when it is asked: a file of cases is read without loading the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sapwood.errors import ConfigError
from sapwood.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from sapwood.goals import Calibration
    from sapwood.recovery import Recovered
    from sapwood.types import ModelBundle

ROW_KINDS: Registry[type[CaseRow]] = Registry("kind of row")
"""Every kind of row a cases file may hold, by the word its ``kind`` field has."""


def _no_bool(value: Any) -> Any:
    """Refuses YAML's ``yes`` and ``true``, which would pass as 1, and numbers that nothing can count to."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("expected a number below 2^63")
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
OpenNumber = Annotated[float, BeforeValidator(_no_bool)]
"""A number that may be infinite."""

Whole = Annotated[int, BeforeValidator(_no_bool)]
Sparsity = Annotated[Number, Field(ge=0.0, lt=1.0)]
Kept = Annotated[Number, Field(gt=0.0, le=1.0)]


@dataclass(frozen=True)
class Candidate:
    """A model to be measured beside the unpruned one.

    Attributes:
        bundle: The model as it is measured; shares nothing with the dense one.
        notes: What a reader should know about it, a sentence each.
        measured: The same model as a runtime runs it, where accuracy and time are to be that runtime's.
        with_live_masks: Makes the same model with its masks still live, where it came from masks.
    """

    bundle: ModelBundle
    notes: tuple[str, ...] = ()
    with_live_masks: Callable[[], nn.Module] | None = None
    measured: ModelBundle | None = None

    @property
    def running(self) -> ModelBundle:
        """What accuracy and time are measured of."""
        return self.bundle if self.measured is None else self.measured


def pictures_for(wish: str, calibration: Calibration | None) -> Calibration:
    """Returns the pictures that a row needs.

    Args:
        wish: What needs them, as the row has it: ``"recover: reconstruct"``.
        calibration: What there is.

    Raises:
        ConfigError: If there are none.
    """
    if calibration is None:
        raise ConfigError(f"{wish} looks at pictures; expected a data set with a train split")
    return calibration


def recovered_note(recovery: Recovered) -> str:
    """Says by what accuracy was brought back, from how much, in what time."""
    return (
        f"recovered by {recovery.method} from {recovery.num_pictures} pictures without labels in "
        f"{recovery.seconds:.0f} s"
    )


class Make(Protocol):
    """Makes a candidate from the dense model, which it leaves as it is."""

    def __call__(self, dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
        """Does it; ``calibration`` holds the pictures that a row may look at, without their labels."""
        ...


class CaseRow(BaseModel):
    """What every kind of row has. Rows are frozen, and equal rows are the same case.

    Attributes:
        kind: Which kind of row it is.
        name: What the table calls it; made from the other fields where the file gives none.
        family: Rows that differ only in sparsity share it: one line in the plots.
        origin: Where the row came from (``"cases.yaml line 7 (row 2)"``), for messages; not a part of the case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    sweep: ClassVar[str] = "sparsity"
    """The field in which a list stands for a row each."""
    also_sweep: ClassVar[tuple[str, ...]] = ()
    """Fields that may take its place, and in which a list means the same."""

    file_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that name a file: it is looked for beside the cases file, and the candidate depends on what it holds."""

    kind: str
    name: str = ""
    family: str = ""
    origin: str = Field(default="", exclude=True, repr=False)

    def default_family(self) -> str:
        """What the row's family is called where the file names none."""
        raise NotImplementedError(f"{type(self).__name__} names no family")

    def level(self) -> float | None:
        """How far the case goes within its family (the sparsity asked for), where that is a number."""
        return getattr(self, self.sweep, None)

    def asked(self) -> float | None:
        """What was asked for, as the field has it; the number behind the row's name."""
        return self.level()

    def files(self) -> dict[str, str]:
        """The files that the row names, by field."""
        named = {field: getattr(self, field) for field in self.file_fields}
        return {field: path for field, path in named.items() if path is not None}

    def looks_at_pictures(self) -> bool:
        """Whether making the row's candidate takes pictures."""
        return False

    def prepare(self) -> Make:
        """Checks the row as far as that is possible without a model.

        Returns:
            What makes its candidate.

        Raises:
            SapwoodError: If the fields of the row do not go together.
        """
        raise ConfigError(
            f"kind {self.kind}: got a {type(self).__name__}, which makes nothing; expected a row of one of the kinds "
            f"{', '.join(ROW_KINDS)}"
        )
