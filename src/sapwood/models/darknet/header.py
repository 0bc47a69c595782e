"""The header of a Darknet ``.weights`` file."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """The first bytes of a weights file: three version numbers and the count of pictures seen in training.

    Source: ``load_weights_upto`` in ``src/parser.c`` of https://github.com/AlexeyAB/darknet.

    Attributes:
        major: Version; from 0.2 on the count has 64 bits, before 32.
        minor: Version. Above 1000, here or in ``major``, the matrices of ``[connected]`` layers are stored transposed.
        revision: Version.
        seen: Pictures seen in training.

    Examples:
        >>> Header(0, 2, 5, 64).to_bytes().hex()
        '0000000002000000050000004000000000000000'
        >>> Header.from_bytes(Header(0, 1, 0, 7).to_bytes())
        Header(major=0, minor=1, revision=0, seen=7)
    """

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0

    @property
    def layout(self) -> str:
        """The fields as :mod:`struct` names them."""
        return "<3iQ" if self.major * 10 + self.minor >= 2 else "<3iI"

    @property
    def size(self) -> int:
        """Bytes of the header."""
        return struct.calcsize(self.layout)

    @property
    def transposed(self) -> bool:
        """Whether ``[connected]`` matrices are stored with shape (inputs, outputs)."""
        return self.major > 1000 or self.minor > 1000

    @property
    def plausible(self) -> bool:
        """Whether some Darknet may have written these numbers."""
        return all(0 <= part <= 2000 for part in (self.major, self.minor, self.revision))

    def to_bytes(self) -> bytes:
        """Returns the bytes a file begins with."""
        return struct.pack(self.layout, self.major, self.minor, self.revision, self.seen)

    @staticmethod
    def of_ports(data: bytes) -> Header:
        """The header of five 32-bit numbers that tools in Python write, whatever the version they give; as 0.2.5.

        They read what they wrote, 20 bytes; Darknet reads 16 of them where the version is below 0.2, and every weight
        in a wrong place. A header that says 0.2.5 has 20 bytes for all.
        """
        return Header(seen=struct.unpack_from("<Q", data, 12)[0])

    @staticmethod
    def from_bytes(data: bytes) -> Header | None:
        """Returns the header at the front of ``data``, or None where that is too short."""
        if len(data) < 12:
            return None
        header = Header(*struct.unpack_from("<3i", data))
        if len(data) < header.size:
            return None
        return Header(*struct.unpack_from(header.layout, data))
