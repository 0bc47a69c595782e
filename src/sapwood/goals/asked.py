"""What pruning is asked for, looked at before the work begins."""

from __future__ import annotations

from sapwood.arguments import check_kind
from sapwood.goals.sensitivity import Sensitivity
from sapwood.goals.targets import Calibration, Deployment, Limits, Target


def check_asked(target: object, calibration: object, sensitivity: object, limits: object) -> None:
    """Checks the kinds of what was asked for.

    Raises:
        ConfigError: If one is of another kind; says what was expected.
    """
    check_kind("target", target, Target, "what to reach, as sapwood.Target(sparsity=0.5)")
    for name, value, kind, home in (
        ("calibration", calibration, Calibration, "sapwood"),
        ("sensitivity", sensitivity, Sensitivity, "sapwood.pipeline"),
        ("limits", limits, Limits, "sapwood"),
    ):
        if value is not None:
            check_kind(name, value, kind, f"a {home}.{kind.__name__}, or None")


def deployment_of(given: Deployment | str | None) -> Deployment | None:
    """Where a model will run; a runtime may be named alone.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(given, str):
        return Deployment(given)
    if given is not None:
        check_kind("deployment", given, Deployment, "the name of a runtime, or a sapwood.Deployment")
    return given
