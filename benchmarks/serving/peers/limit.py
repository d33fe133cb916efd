"""The in-process limit: the peers' pipeline on every core, no server. `limit.py SECONDS THREADS PHOTO…`, THREADS loops.

Prints images a second, the median milliseconds of one, and its CPU milliseconds.
"""

import itertools
import statistics
import sys
import threading
import time
from pathlib import Path

from pipeline import Pipeline


def main(seconds: float, loops: int, photos: list[bytes]) -> None:
    pipeline = Pipeline()
    pipeline.score(photos[0])
    spent: list[list[float]] = [[] for _ in range(loops)]
    until = time.perf_counter() + seconds

    def work(times: list[float]) -> None:
        for data in itertools.cycle(photos):
            begun = time.perf_counter()
            if begun >= until:
                return
            pipeline.score(data)
            times.append(time.perf_counter() - begun)

    begun, spent_before = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work, args=(times,)) for times in spent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = sum(map(len, spent))
    rate, cpu = count / (time.perf_counter() - begun), (time.process_time() - spent_before) / count
    print(rate, statistics.median(itertools.chain(*spent)) * 1000, cpu * 1000)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), [Path(name).read_bytes() for name in sys.argv[3:]])
