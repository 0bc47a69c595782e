"""What is said where a framework cannot be imported: that it is not there, or is an older release than is read here."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from sapwood.errors import MissingDependencyError


def not_importable(
    package: str, error: ImportError, *, needed_for: str, extra: str, oldest: str
) -> MissingDependencyError:
    """The error for a package of which the import failed.

    An old release often fails over a newer package beside it before it can be asked for its version.

    Args:
        package: Its name.
        error: What the import said.
        needed_for: The specifications that need it.
        extra: Of Sapwood, that installs it.
        oldest: The first release that will do.
    """
    said = " ".join(str(error).split())
    try:
        found = version(package)
    except PackageNotFoundError:
        found = oldest
    if numbers(found) < numbers(oldest):
        return MissingDependencyError(
            f"{package} {found} is too old, and cannot be imported here ({said}); expected {oldest} or later: "
            f"pip install --upgrade sapwood[{extra}]"
        )
    return MissingDependencyError(
        f"{package} is not installed or not whole ({said}); expected for {needed_for}, install it by: "
        f"pip install sapwood[{extra}]"
    )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release.

    Examples:
        >>> numbers("5.24.0.dev1") > numbers("5.3")
        True
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
