"""Rows of kind ``prune``: channels removed with all that hangs on them."""

from __future__ import annotations

from dataclasses import replace

from sapwood.cases import CaseRow, PruneRow
from sapwood.comparing.candidates.base import CANDIDATES, Candidate, Make
from sapwood.errors import ConfigError
from sapwood.goals import Calibration, Deployment, Limits, Target
from sapwood.pipeline import prune, recover
from sapwood.recovery import Recovered
from sapwood.types import ModelBundle


@CANDIDATES.register("prune")
def prepare_prune(row: CaseRow) -> Make:
    """Returns what removes channels of a copy of a model as the row says.

    Raises:
        ConfigError: If the row is of another kind.
    """
    if not isinstance(row, PruneRow):
        raise ConfigError(f"kind prune: got a {type(row).__name__}; expected a PruneRow")
    target = Target(sparsity=row.sparsity, params=row.params, macs=row.macs, latency=row.latency)
    limits = Limits(round_to=row.round_to, minimum=row.minimum)

    def make(dense: ModelBundle, calibration: Calibration | None = None, /) -> Candidate:
        if row.recover != "none" and calibration is None:
            raise ConfigError(f"recover: {row.recover} looks at pictures; expected a data set with a train split")
        pruned = prune(
            dense.model,
            dense.example_inputs,
            target=target,
            criterion=row.criterion,
            allocator=row.allocator,
            calibration=calibration,
            limits=limits,
            deployment=None if row.latency is None else Deployment(row.runtime),
        )
        error = pruned.verification.max_abs_error
        notes = [f"equals the network with these channels silenced to {error:.0e} of the largest output, in float64"]
        if pruned.latency is not None:
            notes.append(f"measured {pruned.latency.ratio:.3f} of the dense network's time on {row.runtime}")
        if calibration is not None and row.recover != "none":
            pruned = recover(dense, pruned, [batch.inputs for batch in calibration.batches], row.recover)
            notes.append(_recovered(pruned.recovery))
        return Candidate(replace(dense, model=pruned.model), tuple(notes))

    return make


def _recovered(recovery: Recovered | None) -> str:
    assert recovery is not None
    return (
        f"recovered by {recovery.method} from {recovery.num_pictures} pictures without labels in "
        f"{recovery.seconds:.0f} s"
    )
