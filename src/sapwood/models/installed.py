"""What is said where a framework cannot be imported: that it is not there, or is an older release than is read here."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sapwood.errors import MissingDependencyError


def import_framework(module: str, *, needed_for: str, extra: str, oldest: str) -> Any:
    """Imports a module of a framework.

    Args:
        module: Its name.
        needed_for: The specifications that need it.
        extra: Of Sapwood, that installs it.
        oldest: The first release that will do.

    Raises:
        MissingDependencyError: If it cannot be imported: the package is not there, or old. An old release often fails
            over a newer package beside it, and in any way, before it can be asked for its version.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        found = installed_version(package)
        if found is not None and numbers(found) < numbers(oldest):
            raise too_old(package, found, f", and cannot be imported here ({said})", extra, oldest) from error
        raise MissingDependencyError(
            f"{package} is not installed or not whole ({said}); expected for {needed_for}, install it by: "
            f"pip install sapwood[{extra}]"
        ) from error


def too_old(package: str, found: str, why: str, extra: str, oldest: str) -> MissingDependencyError:
    """The error for a release that will not do, with what comes after "too old"."""
    return MissingDependencyError(
        f"{package} {found} is too old{why}; expected {oldest} or later: pip install --upgrade sapwood[{extra}]"
    )


def installed_version(package: str) -> str | None:
    """The release of a package that is installed; None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release.

    Examples:
        >>> numbers("5.24.0.dev1") > numbers("5.3")
        True
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
