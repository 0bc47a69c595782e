"""A pruned network whose recovery is under way: it is on disk meanwhile, and the same command goes on from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapwood.cli.shrink import save
from sapwood.cli.stopping import same_command
from sapwood.errors import CheckFailedError

if TYPE_CHECKING:
    from sapwood.pipeline import Pruned, Sensitivity
    from sapwood.report import Pruning
    from sapwood.types import ModelBundle

NAME = "unrecovered.json"
"""Beside the saved network: of which command it is."""
EXPECTED = "what `sapwood prune --recover` leaves until it is done"


@dataclass(frozen=True)
class Unrecovered:
    """Where the network is that a command has pruned and not recovered.

    Attributes:
        out: The directory.
        bundle: The model before.
        asked: What the command asks for.
    """

    out: Path
    bundle: ModelBundle
    asked: Mapping[str, Any]

    def find(self) -> tuple[Pruned, Pruning] | None:
        """Returns the network that the same command has pruned, with its record; None where there is none."""
        from sapwood.graph import Unpruned
        from sapwood.models import apply_plan, load_plans
        from sapwood.pipeline import Pruned, Verification
        from sapwood.report import read_pruning

        if self._stored() != self._key():
            return None
        record = read_pruning(_read(self.out / "report.json"))
        plan = load_plans(self.out)[-1]
        proof = {**record.verification.model_dump(), "max_abs_error": float(record.verification.max_abs_error)}
        whole = tuple(Unpruned(one.tensor, one.dim, one.reason) for one in record.unpruned)
        small = apply_plan(self.bundle.model, plan)
        return Pruned(small, plan, Verification(**proof), whole, removed_blocks=record.removed_blocks), record

    def keep(self, result: Pruned, sensitivity: Sensitivity | None) -> None:
        """Saves what was pruned, before its recovery begins."""
        from sapwood.files import write_json
        from sapwood.pipeline import shrink_record

        save(self.bundle, result, shrink_record(self.bundle, result, dict(self.asked), sensitivity), self.out)
        write_json(self.out / NAME, {"command": self._key()})

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Around what puts the recovered network in its place: then nothing is left to go on with."""
        try:
            yield
        except CheckFailedError:  # of a network that is saved all the same
            (self.out / NAME).unlink(missing_ok=True)
            raise
        (self.out / NAME).unlink(missing_ok=True)

    def where(self) -> str:
        """What an interruption leaves, and how to go on."""
        return f"{self.out} holds the pruned network, whose accuracy is not back; go on with: {same_command()}"

    def _key(self) -> str:
        from sapwood import __version__
        from sapwood.fingerprints import key_of, model_fingerprint

        return key_of({"asked": self.asked, "model": model_fingerprint(self.bundle), "sapwood": __version__})

    def _stored(self) -> object:
        path = self.out / NAME
        return _read(path).get("command") if path.is_file() else None


def _read(path: Path) -> Mapping[str, Any]:
    from sapwood.errors import DataError
    from sapwood.reading import read_json

    found = read_json(path, EXPECTED, DataError)
    return found if isinstance(found, Mapping) else {}
