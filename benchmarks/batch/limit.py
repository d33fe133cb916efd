"""Owns the limit: the same images decoded, preprocessed and run from memory in one process, every core busy.

It refuses everything that a service needs besides: no network, no storage, no event loop. Run as a process of its own
(`python -m benchmarks.batch.limit …`), so that it begins as fresh as a worker does; it prints images a second, CPU
milliseconds an image, and the share of the cores that other processes took.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.batch.processes import Machine
from inference.engine import available_cores
from inference.image import decode
from inference.models.geometry import Frame
from inference.models.loading import load_ready_session
from inference.models.postprocess import postprocess
from inference.models.preprocess import preprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.settings import ImageSettings


def measure(session: ModelSession, images: list[bytes], count: int, cores: int) -> tuple[float, float, float]:
    """Return images a second, CPU milliseconds an image and the share of others in the cores over `count` images.

    One thread a core, each taking the next image when it is free.
    """
    numbers = iter(range(count))
    lock = threading.Lock()
    started = threading.Barrier(cores + 1)

    def take() -> Iterator[bytes]:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            yield images[number % len(images)]

    def work() -> None:
        started.wait()
        for data in take():
            score(data, session)

    with ThreadPoolExecutor(max_workers=cores) as pool:
        workers = [pool.submit(work) for _ in range(cores)]
        started.wait()
        machine, begun, spent = Machine(), time.perf_counter(), time.process_time()
        for worker in workers:
            worker.result()
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - spent
        return count / seconds, cpu_seconds * 1000 / count, machine.others_share(cpu_seconds)


def score(data: bytes, session: ModelSession, settings: ImageSettings = ImageSettings()) -> None:  # noqa: B008 -- frozen
    """Do what the scorer does on an engine thread, stage by stage, without its spans."""
    image = decode(data, settings)
    outputs = session.run(preprocess(image.picture, session.spec))
    postprocess(outputs, session.spec, frame=Frame(image.width, image.height, image.reduced_by))


def time_stages(session: ModelSession, images: list[bytes], rounds: int = 5) -> dict[str, float]:
    """Return milliseconds an image of each stage, alone on one core."""
    settings = ImageSettings()
    decoded = [decode(data, settings) for data in images]
    tensors = [preprocess(image.picture, session.spec) for image in decoded]

    def milliseconds(call: Callable[[int], object]) -> float:
        begun = time.perf_counter()
        for _, index in itertools.product(range(rounds), range(len(images))):
            call(index)
        return (time.perf_counter() - begun) * 1000 / rounds / len(images)

    return {
        "decode": milliseconds(lambda index: decode(images[index], settings)),
        "preprocess": milliseconds(lambda index: preprocess(decoded[index].picture, session.spec)),
        "run": milliseconds(lambda index: session.run(tensors[index])),
    }


def main() -> None:
    """Measure one model on the files of one folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("model")
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--stages", action="store_true", help="print milliseconds an image of each stage instead")
    options = parser.parse_args()
    session = load_ready_session(ModelRepository(options.repository).resolve(options.model))
    images = [path.read_bytes() for path in sorted(options.images.iterdir())]
    if options.stages:
        print(*(f"{name} {value:.2f}" for name, value in time_stages(session, images).items()))
        return
    cores = available_cores()
    measure(session, images, 4 * cores, cores)
    print(*measure(session, images, options.count, cores))


if __name__ == "__main__":
    main()
