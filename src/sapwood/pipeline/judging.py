"""How far what was made of a network agrees with it, for a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from sapwood import tasks
from sapwood.report import records
from sapwood.tasks import Progress
from sapwood.types import Dataset, ModelBundle


def measured_agreement(
    dense: ModelBundle,
    networks: Mapping[str, ModelBundle],
    dataset: Dataset,
    *,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> records.MeasuredAgreement:
    """Measures the agreement of some networks with a dense one; see :func:`sapwood.tasks.agreement`.

    Args:
        dense: The one.
        networks: By name.
        dataset: Pictures; those that cannot be read are left out, and listed.
        batch_size: Pictures a forward pass.
        progress: Told the pictures done and those in all, anew for each network.

    Raises:
        ConfigError: If the task has no such figure.
        DataError: If the dense network finds nothing.
    """
    found = tasks.agreement(dense, networks, dataset, batch_size=batch_size, on_bad="skip", progress=progress)
    named = {"against": dense.name, "data": dataset.name}
    return records.make_part(records.MeasuredAgreement, {**named, **asdict(found)})
