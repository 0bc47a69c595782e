"""How far networks agree with a dense one, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats
from sapwood.report.records import AgreementRecord, MeasuredAgreement, make_part
from sapwood.report.table import TextTable, columns


def agreement_table(agreement: MeasuredAgreement | Mapping[str, Any]) -> TextTable:
    """Returns a row a network, then one for every two of them.

    Args:
        agreement: What ``sapwood eval --against --json`` prints.

    Examples:
        >>> sure = {"value": 0.8, "low": 0.75, "high": 0.85}
        >>> named = {"against": "dense", "data": "coco", "split": "val", "figure": "top-1"}
        >>> agreement_table({**named, "networks": {"small": sure}, "num_images": 64, "num_found": 64}).rows
        (('small', '0.800', '0.750', '0.850'),)
    """
    found = agreement if isinstance(agreement, MeasuredAgreement) else make_part(AgreementRecord, agreement)
    rows = [
        (name, formats.score(one.value), formats.score(one.low), formats.score(one.high))
        for name, one in found.networks.items()
    ]
    rules = [len(rows)] if found.differences else []
    for pair in found.differences:
        name, one = f"{pair.network} over {pair.other}", pair.estimate
        rows.append((name, formats.delta(one.value), formats.delta(one.low), formats.delta(one.high)))
    return TextTable(
        "Agreement",
        columns("", found.figure, "95 % from", "to"),
        tuple(rows),
        heading=f"agreement with {found.against}",
        notes=(
            f"{formats.several(found.num_images, 'picture')} of {found.data}; labels are {found.num_found} findings "
            f"of {found.against}",
            "of 100 samples of the pictures 95 lie between these figures; differences are of the same samples",
            *(f"skipped: {reason}" for reason in found.skipped),
        ),
        rules=rules,
    )


def case_agreement_table(agreement: MeasuredAgreement) -> TextTable:
    """Returns a row a case of a comparison: its agreement, and how far it is below the case that agrees most.

    Args:
        agreement: With the differences of every two.
    """
    best = max(agreement.networks, key=lambda name: agreement.networks[name].value)
    apart = agreement.over(best)
    rows = tuple(
        (
            name,
            formats.score(one.value),
            formats.score(one.low),
            formats.score(one.high),
            *(
                (formats.delta(apart[name].value), formats.delta(apart[name].low), formats.delta(apart[name].high))
                if name in apart
                else (formats.MISSING,) * 3
            ),
        )
        for name, one in agreement.networks.items()
    )
    return TextTable(
        "Agreement with the dense network",
        columns("case", agreement.figure, "95 % from", "to", f"over {best}", "95 % from", "to"),
        rows,
        heading="agreement with the dense network, whose findings stand for labels",
        notes=(
            f"{formats.several(agreement.num_images, 'picture')} of {agreement.data}; differences are of the same "
            "samples of them: "
            "where 0 lies between the two figures, they do not tell the cases apart",
        ),
    )
