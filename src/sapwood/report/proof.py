"""What the proof says, and what it does not: that outputs are the masked model's is not that the accuracy is kept."""

from __future__ import annotations

import math
from typing import Protocol

from sapwood.report import formats
from sapwood.report.records import MeasuredAgreement

LEGIBLE = 1e-3
"""Differences from here on are written in percent, smaller ones as powers of ten."""


class Proof(Protocol):
    """What was found; :class:`sapwood.removal.Verification`, or a record of one."""

    @property
    def max_abs_error(self) -> float | str:
        """The largest difference, as a fraction of the largest output."""
        ...

    @property
    def dtype(self) -> str:
        """The type in which it was taken."""
        ...

    @property
    def distance_from_dense(self) -> float | None:
        """How far the outputs are from those of the model before."""
        ...


def difference(error: float) -> str:
    """Writes a difference that is a fraction of the largest output.

    Examples:
        >>> difference(0.2), difference(6.8e-17), difference(0.0), difference(2.5)
        ('20 %', '6.8e-17', '0', '250 %')
    """
    if not math.isfinite(error):
        return str(error)
    if error >= LEGIBLE:
        return formats.percent(error) if error < 0.9 else f"{100 * error:.0f} %"
    return f"{error:.1e}" if error else "0"


SAME = 1e-6
"""Outputs that differ by less compute the same: what is left is rounding."""


def apart_text(error: float, other: str) -> str:
    """Says in a note how far a network is from another one.

    Examples:
        >>> apart_text(2e-16, "the masked network"), apart_text(0.2, "the masked network")
        ('computes what the masked network does', 'differs from the masked network by 20 % of the largest output')
    """
    if error < SAME:
        return f"computes what {other} does"
    return f"differs from {other} by {difference(error)} of the largest output"


def proof_text(proof: Proof, *, proven: bool) -> str:
    """Says how far the compact model is from the masked one."""
    found = f"{difference(float(proof.max_abs_error))} of the largest output, {proof.dtype}"
    if proven:
        return f"proven: the smaller network computes what the masked one does (largest difference {found})"
    return f"differs from the masked model by {found}"


def moved_text(proof: Proof, *, recovered: bool, agreement: MeasuredAgreement | None = None) -> str:
    """Says what the proof is silent about: how far the outputs are from those of the model before, and the accuracy.

    Args:
        proof: Of the network as it was pruned.
        recovered: Whether its weights changed afterwards.
        agreement: Of the pruned and of the recovered network with the dense one, where it was measured.
    """
    if recovered and agreement is not None:
        return f"accuracy was not measured against labels; {agreed_text(agreement)}"
    if recovered:
        return "accuracy was not measured: the proof is of the weights before recovery"
    if proof.distance_from_dense is None:
        return "accuracy was not measured"
    if proof.distance_from_dense == 0.0:
        return "outputs are as they were before"
    moved = difference(proof.distance_from_dense)
    return f"accuracy was not measured: outputs moved by {moved} of the largest one"


def agreed_text(agreement: MeasuredAgreement) -> str:
    """Says how accuracy was before and after recovery, what the dense network finds being taken for labels.

    Examples:
        >>> from sapwood.report.records import Estimated
        >>> was, now = (Estimated(value=one, low=one, high=one) for one in (0.1, 0.9))
        >>> agreed_text(MeasuredAgreement(against="net", data="coco", figure="mAP@0.5", num_images=64, num_found=99,
        ...     networks={"pruned": was, "recovered": now}))
        'against what net finds in 64 pictures, recovery brought mAP@0.5 from 0.100 to 0.900'
        >>> agreed_text(MeasuredAgreement(against="net", data="coco", figure="mAP@0.5", num_images=64, num_found=99,
        ...     networks={"pruned": now, "recovered": was}))
        'against what net finds in 64 pictures, recovery made mAP@0.5 worse: 0.900 before it, 0.100 after'
    """
    was, now = (agreement.networks[name].value for name in ("pruned", "recovered"))
    before, after = formats.score(was), formats.score(now)
    where = f"against what {agreement.against} finds in {formats.several(agreement.num_images, 'picture')}"
    if now < was and after != before:
        return f"{where}, recovery made {agreement.figure} worse: {before} before it, {after} after"
    return f"{where}, recovery brought {agreement.figure} from {before} to {after}"
