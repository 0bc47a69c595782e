"""What a file may ask for: limits that have a name, and an environment variable that raises them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType

from sapwood.errors import ConfigError, SapwoodError

PREFIX = "SAPWOOD_MAX_"


@dataclass(frozen=True)
class Limit:
    """How much of something a file may ask for.

    Attributes:
        default: The most that is allowed where nothing else is said.
        meaning: What is counted, with its unit.
    """

    default: int
    meaning: str


LIMITS = MappingProxyType(
    {
        "text_bytes": Limit(1 << 30, "bytes of a text or JSON file: annotations, cfg, plan.json, network.json"),
        "yaml_bytes": Limit(1 << 20, "bytes of a YAML file"),
        "yaml_nodes": Limit(200_000, "values in a YAML file, its aliases written out"),
        "classes": Limit(100_000, "classes without names, of a label file or a network"),
        "picture_pixels": Limit(1 << 26, "pixels of a picture, width times height"),
        "sections": Limit(10_000, "sections of a Darknet cfg, or operations of a compiled network"),
        "network_bytes": Limit(8 << 30, "bytes of the parameters, or of the maps for one picture, of a network"),
    }
)
"""Every limit by name."""


def variable(name: str) -> str:
    """The environment variable that raises the limit ``name``.

    Examples:
        >>> variable("yaml_bytes")
        'SAPWOOD_MAX_YAML_BYTES'
    """
    return PREFIX + name.upper()


def limit(name: str) -> int:
    """The limit ``name``, as the environment says it or by default.

    Raises:
        ConfigError: If the environment says anything but a positive whole number.
    """
    text = os.environ.get(variable(name))
    if text is None:
        return LIMITS[name].default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise ConfigError(f"{variable(name)}={text}: expected a positive whole number, of {LIMITS[name].meaning}")
    return int(text)


def check_limit(name: str, asked: int, where: str, error: type[SapwoodError]) -> None:
    """Refuses what asks for more than the limit ``name``.

    Args:
        name: A key of :data:`LIMITS`.
        asked: How much is asked for, in the limit's unit.
        where: The file and place that ask, for the message.
        error: What is raised.

    Raises:
        SapwoodError: An ``error`` that says what came, what is allowed, and how to allow more.

    Examples:
        >>> check_limit("yaml_bytes", 10**9, "big.yaml", SapwoodError)
        Traceback (most recent call last):
        ...
        sapwood.errors.SapwoodError: big.yaml: asks for 1,000,000,000 bytes of a YAML file; expected at most 1,048,576 \
(SAPWOOD_MAX_YAML_BYTES raises the limit)
    """
    most = limit(name)
    if asked > most:
        raise error(
            f"{where}: asks for {asked:,} {LIMITS[name].meaning}; expected at most {most:,} "
            f"({variable(name)} raises the limit)"
        )
