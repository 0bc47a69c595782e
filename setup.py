"""Builds the sparse engine with the package; everything else stands in pyproject.toml.

The library has a plain C interface, so that one build serves every Python version. Without a C++17 compiler the package
installs all the same, and the engine says that it is not built. With SAPWOOD_PURE=1 none is built, and the wheel
is one for any machine.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCES = Path("csrc")
COMMON = (
    "interface.cpp",
    "facts.cpp",
    "dispatch.cpp",
    "checks.cpp",
    "program.cpp",
    "run.cpp",
    "dense.cpp",
    "depthwise.cpp",
    "chain.cpp",
    "tokens.cpp",
    "pool.cpp",
    "fork.cpp",
    "packing.cpp",
    "hash.cpp",
    "kernels/scalar.cpp",
)
X86 = {"kernels/avx2.cpp": ["-mavx2", "-mfma"], "kernels/avx512.cpp": ["-mavx512f", "-mavx512dq"]}
PURE = os.environ.get("SAPWOOD_PURE", "") not in {"", "0"}
ALL = (*COMMON, *X86, "kernels/neon.cpp")
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-g0",
    "-fvisibility=hidden",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Wno-maybe-uninitialized",
    "-Wno-uninitialized",  # GCC 12 says it of its own intrinsics
]
LIBRARY = {"win32": "sapwood_engine.dll", "darwin": "libsapwood_engine.dylib"}.get(sys.platform, "libsapwood_engine.so")


class BuildEngine(build_ext):
    """Compiles each instruction set's file with its own flags; the name of the library carries no Python version."""

    def get_ext_filename(self, fullname: str) -> str:
        """Names the library, in its package's folder."""
        return str(Path(*fullname.split(".")[:-1]) / LIBRARY)

    def build_extension(self, ext: Extension) -> None:
        """Compiles and links."""
        x86 = platform.machine().lower() in {"x86_64", "amd64"}
        objects = []
        for name in ALL:
            flags = [*FLAGS, *(X86.get(name, []) if x86 else [])]
            objects += self.compiler.compile(
                [str(SOURCES / name)], output_dir=self.build_temp, include_dirs=[str(SOURCES)], extra_postargs=flags,
                depends=[str(path) for path in sorted(SOURCES.rglob("*")) if path.suffix in {".h", ".inc"}],
            )  # fmt: skip
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=["-pthread"], target_lang="c++"
        )

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Nothing but what the sources mark."""
        return []


class AnyPython(bdist_wheel):
    """A wheel for the platform, or for any, of no particular Python version."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python 3, no Python ABI; this platform where the engine is in it."""
        return "py3", "none", super().get_tag()[2]


ENGINE = Extension(
    "sapwood.runtime.engine.library", [str(SOURCES / name) for name in ALL], optional=True, language="c++"
)

setup(
    ext_modules=[] if PURE else [ENGINE],
    cmdclass={"build_ext": BuildEngine, "bdist_wheel": AnyPython},
)
