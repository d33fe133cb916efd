"""SIGTERM on a process that works: it finishes, closes, and only then ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """\
import asyncio, sys
from inference import draining
draining.LINGER_SECONDS = 0

async def main():
    drain = draining.Draining()

    async def close():
        print("closed", flush=True)
        if "fail" in sys.argv:
            raise OSError

    drain.listen(close)
    with drain.work():
        print("working", flush=True)
        await drain.wait()
        print("draining", drain.is_set(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("finished", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def working(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert read(process) == "working"
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("closing", [(), ("fail",)], ids=["closed", "cannot be closed"])
def test_work_under_way_is_finished_before_the_process_closes_and_ends(closing: tuple[str, ...]) -> None:
    with working(*closing) as process:
        process.terminate()
        assert read(process) == "draining True"
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()

        assert (read(process), read(process)) == ("finished", "closed")
        assert process.wait(120) == -signal.SIGTERM


def test_a_second_signal_ends_it_at_once() -> None:
    with working() as process:
        process.terminate()
        assert read(process) == "draining True"

        process.terminate()
        assert process.wait(120) == -signal.SIGTERM
