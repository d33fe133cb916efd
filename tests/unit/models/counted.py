"""A session that counts, for tests of which lane a run takes."""

from __future__ import annotations

from typing import Any


class Counted:
    """A session of onnxruntime's that counts its runs."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.runs = 0

    def run(self, *arguments: Any) -> Any:
        self.runs += 1
        return self.session.run(*arguments)
