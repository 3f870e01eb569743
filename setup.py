"""The one part that is compiled, the native runtime of a device; without a compiler the package installs without it."""

import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = "recbole_cocorr/device/native"
# Sums may be taken in any order, so that they become vectors; NaN and infinity stay what they are.
FLAGS = "-std=gnu99 -O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -ffp-contract=fast -g0"


class Build(build_ext):
    """Its flags are those of GCC and Clang."""

    def build_extension(self, extension):
        if self.compiler.compiler_type == "unix":
            extension.extra_compile_args = FLAGS.split()
            extension.libraries = ["m"]
        super().build_extension(extension)


# No Python in it: one file for every version. Called by ctypes, so that Windows would need its functions named.
native = Extension(
    "recbole_cocorr.device._native",
    [f"{FOLDER}/cocorr.c", f"{FOLDER}/cocorr_files.c"],
    depends=[f"{FOLDER}/cocorr.h"],
    py_limited_api=True,
    optional=True,
)
setup(ext_modules=[] if sys.platform == "win32" else [native], cmdclass={"build_ext": Build})
