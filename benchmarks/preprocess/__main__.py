"""Owns the table of what comes before a model's run, by the photo's size: milliseconds beside the bare JPEG decoder's.

    python -m benchmarks.preprocess [--assets FOLDER] [--rounds 40]

Medians on one thread, the ways by turns. The input is MobileNetV2's: shorter side to 256, then the middle 224 x 224.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from benchmarks.batch.workloads import ASSETS, MOBILENET_DECLARATION
from benchmarks.serving.peers.pipeline import preprocess as plain_preprocess
from benchmarks.serving.photos import scale_photo
from inference.models.declaration import parse_declaration
from inference.models.encoded_image import prepare_image
from inference.models.signature import Signature, TensorInfo
from inference.models.spec import ModelSpec, resolve_spec
from inference.settings import ImageSettings
from inference.telemetry import Timings

#: A picture of the web, of a screen, of a camera.
SIZES = ((500, 375), (1920, 1080), (4000, 3000))


def make_ways(data: bytes) -> Mapping[str, Callable[[], object]]:
    """Return the ways to make a tensor of a photo, the bare decoder first."""
    spec = resolve_spec(
        parse_declaration(MOBILENET_DECLARATION.encode()),
        Signature(
            (TensorInfo("input", "float32", (None, 3, 224, 224)),), (TensorInfo("out", "float32", (None, 1000)),)
        ),
    )
    return {
        "decoder": lambda: Image.open(io.BytesIO(data)).load(),
        "Pillow and numpy": lambda: plain_preprocess(Image.open(io.BytesIO(data))),
        "EXACT_RESIZE": lambda: _prepare(data, spec, ImageSettings(exact_resize=True)),
        "default": lambda: _prepare(data, spec, ImageSettings()),
        "FAST_DECODE": lambda: _prepare(data, spec, ImageSettings(fast_decode=True)),
    }


def measure(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each way's median in milliseconds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            taken[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(times) for name, times in taken.items()}


def _prepare(data: bytes, spec: ModelSpec, settings: ImageSettings) -> object:
    return prepare_image(data, spec, settings, Timings()).tensor


def main() -> None:
    """Print a row a size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess", description=__doc__.partition("\n")[0])
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    source = options.assets / "images/Landscape_1.jpg"
    if not source.is_file():
        sys.exit(f"{source} is not there: name the folder of photos with --assets")
    for index, size in enumerate(SIZES):
        with Image.open(source) as opened:
            data = scale_photo(opened, size)
        found = measure(make_ways(data), options.rounds)
        if not index:
            print("| photo |", " | ".join(found), "|")
            print("|---|" + "---:|" * len(found))
        cells = [f"{taken:.1f} ms ({taken / found['decoder']:.1f})" for taken in found.values()]
        print(f"| {size[0]} x {size[1]} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
