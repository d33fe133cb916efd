"""How a command fails: one sentence and an exit code; it refuses to print."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script that calls `onnxfn` can tell apart."""

    OK = 0
    WORK_FAILED = 1
    WRONG_CALL = 2


class Failure(Exception):
    """A command that cannot go on; `inference.cli.main` prints the sentence and exits with the code."""

    def __init__(self, sentence: str, exit_code: ExitCode = ExitCode.WORK_FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class WrongCall(Failure):
    """The command line asks for something that cannot be."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, ExitCode.WRONG_CALL)
