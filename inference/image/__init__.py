"""From encoded bytes to the pixels that a model is given: `decode`, then `resize.resize`.

It is the one package that imports Pillow, and it refuses to fetch, to look at names and to render documents.
"""

from inference.image.decode import DecodedImage, decode, preload
from inference.image.formats import identify

__all__ = ["DecodedImage", "decode", "identify", "preload"]
