"""Keeps what decoders say of a broken image out of the log, where one image could write thousands of lines.

It refuses to keep anything from the caller: what cannot be read is raised, as ever.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import PIL


def silence_pillow() -> None:
    """Have Pillow warn of nothing: it does of each entry of EXIF that it skips, of which there may be 65,535."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@cache
def silence_libtiff() -> None:
    """Have libtiff write nothing on stderr: it writes a line for each broken row of a fax, and Pillow cannot tell it.

    That is where Pillow's wheels keep it; one of the system is left as it is.
    """
    import ctypes  # for the first TIFF

    for library in Path(PIL.__file__).parents[1].glob("pillow.libs/libtiff-*.so*"):
        set_handler = ctypes.CDLL(str(library)).TIFFSetErrorHandler
        set_handler.argtypes = [ctypes.c_void_p]
        set_handler.restype = ctypes.c_void_p
        set_handler(None)
