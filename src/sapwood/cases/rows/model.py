"""Rows of kind ``model``: a network that was made before, as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sapwood.cases.rows.base import ROW_KINDS, Candidate, CaseRow, Make
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.goals import Calibration
    from sapwood.types import ModelBundle

BUILT_IN = "builtin:"


@ROW_KINDS.register("model")
class ModelRow(CaseRow):
    """A network that was made before: pruned, masked, trained; of the same task and classes as the unpruned one.

    Attributes:
        model: A directory that Sapwood wrote, looked for beside the cases file, or ``builtin:NAME``: nothing whose code
            runs when it is loaded.
        note: What a reader should know about it.
        commands: That make the like with a network of one's own.

    Examples:
        >>> ModelRow(model="builtin:digits-small").default_family()
        'builtin:digits-small'
    """

    sweep: ClassVar[str] = "model"

    kind: Literal["model"] = "model"
    model: str = Field(min_length=1)
    note: str = ""
    commands: tuple[str, ...] = ()

    def default_family(self) -> str:
        """What it is called on the command line."""
        return self.model

    def level(self) -> float | None:
        """None: how far a network goes that was made before, nobody asked."""
        return None

    def files(self) -> dict[str, str]:
        """The directory, where it is one."""
        return {} if self.model.startswith(BUILT_IN) else {"model": self.model}

    def prepare(self) -> Make:
        """Returns what loads it."""
        from sapwood.models import load_model

        if not self.model.startswith(BUILT_IN) and not Path(self.model).is_dir():
            raise ConfigError(f"model: got {self.model!r}; expected a directory that Sapwood wrote, or {BUILT_IN}NAME")

        def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
            del calibration
            made = load_model(self.model)
            if made.task.kind != dense.task.kind or len(made.task.class_names) != len(dense.task.class_names):
                raise ConfigError(
                    f"{self.model}: is for {made.task.kind} of {len(made.task.class_names)} classes; expected "
                    f"{dense.task.kind} of {len(dense.task.class_names)}"
                )
            bundle = replace(made, example_inputs=dense.example_inputs)
            return Candidate(bundle, (self.note,) if self.note else ())

        return make
