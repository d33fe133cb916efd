"""The preprocess benchmark: its ways make the same tensor, or their times say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from benchmarks.preprocess.__main__ import make_ways, measure
from benchmarks.serving.photos import scale_photo


def test_every_way_makes_the_tensor_that_documentation_makes() -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC)

    ways = make_ways(scale_photo(photo, (500, 375)))
    plain: Any = ways["Pillow and numpy"]()

    level = 1 / 255 / 0.224
    for name, tolerance in {"EXACT_RESIZE": 1e-5, "default": level + 1e-5, "FAST_DECODE": level + 1e-5}.items():
        tensor: Any = ways[name]()
        assert tensor.shape == plain.shape == (1, 3, 224, 224)
        assert np.abs(tensor - plain).max() <= tolerance, name
    assert measure(ways, rounds=1).keys() == ways.keys()
