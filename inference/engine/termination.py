"""How a model's run is ended from outside: onnxruntime looks at `RunOptions.terminate` between two nodes."""

from __future__ import annotations

from typing import Any

import onnxruntime


class Termination:
    """One run's way to be ended; pass `options` to the run."""

    __slots__ = ("options",)

    def __init__(self) -> None:
        self.options: Any = onnxruntime.RunOptions()

    def end(self) -> None:
        """End the run soon; one that has not started ends at once."""
        self.options.terminate = True
