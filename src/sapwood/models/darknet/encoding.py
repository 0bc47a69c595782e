"""Text of other people's encodings: comments are kept byte for byte, whatever they are."""

from __future__ import annotations

import re
from pathlib import Path

from sapwood.errors import CfgError
from sapwood.reading import read_bytes

_COMMENT = re.compile(rb"[#;][^\n]*")


def read_cfg_text(path: Path) -> str:
    """Reads a ``.cfg``; bytes of comments that are no UTF-8 become half characters, as :func:`cfg_bytes` expects.

    Raises:
        CfgError: If the file cannot be read, or is not UTF-8 outside its comments.
    """
    data = read_bytes(path, "a Darknet .cfg file", CfgError, limited_by="text_bytes")
    plain = _COMMENT.sub(lambda found: b"#" * len(found[0]), data)
    try:
        if b"\0" in data:
            raise UnicodeDecodeError("utf-8", data, data.index(b"\0"), data.index(b"\0") + 1, "a NUL byte")
        plain.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = data[error.start]
        raise CfgError(f"{path}:{line}: byte 0x{found:02x} is not UTF-8 text; expected a Darknet .cfg file") from error
    return data.decode("utf-8", "surrogateescape")


def cfg_bytes(text: str) -> bytes:
    """The bytes that a ``.cfg`` was read from.

    Examples:
        >>> cfg_bytes(b"# caf\\xe9".decode("utf-8", "surrogateescape"))
        b'# caf\\xe9'
    """
    return text.encode("utf-8", "surrogateescape")
