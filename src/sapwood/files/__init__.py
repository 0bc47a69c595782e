"""Writing files so that a reader never meets half of one, and nothing that stood there is lost.

What is written is made in a temporary folder beside its place and goes there in one step. A process that is killed
leaves that folder, which the next one that writes the same place removes.
"""

from sapwood.files.checks import alone_in, blaming_the_disk, check_directory, check_file, check_folder, check_pair
from sapwood.files.writing import (
    keep_json,
    new_directory,
    new_files,
    remove_unfinished,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "alone_in",
    "blaming_the_disk",
    "check_directory",
    "check_file",
    "check_folder",
    "check_pair",
    "keep_json",
    "new_directory",
    "new_files",
    "remove_unfinished",
    "write_bytes",
    "write_json",
    "write_text",
]
