"""Makes onnxruntime's sessions of one verified version: one, or several that hold the weights in memory only once.

Each session otherwise has a copy of its own, in the layout that its kernels read. It refuses to leave a file behind,
and to serve from files that were changed since they were verified.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
from msgspec import Struct

from inference.errors import ModelUnavailable
from inference.models.manifest import MODEL_NAME, FileStamp, verify_unchanged
from inference.models.repository import ModelVersion
from inference.models.runtime import CPU, create_session, session_options

_log = logging.getLogger("inference.models")

#: Of the folders, gone in a moment, whose files the weights are mapped from.
FOLDER_PREFIX = "onnxfn-weights-"

_WEIGHTS_NAME = "weights"

#: What is prepared takes up to twice the model's files: a layout of a kernel's own stands beside the original.
_DISK_FACTOR = 3

#: Preparing takes seconds; a folder of this age is that of a process that was killed over it.
_ABANDONED_SECONDS = 3600


class Way(Struct, frozen=True):
    """How a session runs."""

    threads: int
    #: Whether idle threads burn CPU to wake up faster.
    spinning: bool = False


class SessionFactory(Struct, frozen=True):
    """The sessions of one version."""

    version: ModelVersion
    stamps: Mapping[str, FileStamp]
    providers: Sequence[str] = (CPU,)

    def create(self, way: Way) -> Any:
        """Return a session with weights of its own. Raises ModelUnavailable."""
        session = create_session(self.version, way.threads, spinning=way.spinning, providers=self.providers)
        verify_unchanged(self.version.path, self.stamps)
        return session

    @contextmanager
    def sharing(self, *, own_arena: bool = False) -> Iterator[Callable[[Way], Any]]:
        """Yield a function that makes sessions of one copy of the weights; they outlive the block.

        onnxruntime maps the weights from a prepared file. Where that cannot be made (another execution provider, no
        room on the disk), each session has its own. The function raises ModelUnavailable.
        """
        with ExitStack() as stack:
            try:
                prepared = self._prepare(stack) if [*self.providers] == [CPU] else None
            except Exception as exc:  # onnxruntime's errors have no common base, and there is another way
                _log.info("weights not shared", extra={"action": "weights_not_shared", "reason": type(exc).__name__})
                prepared = None
            yield self.create if prepared is None else partial(_open_prepared, prepared, own_arena)

    def _prepare(self, stack: ExitStack) -> Path:
        """Return a file of the graph as optimised for this machine, beside it the weights as its kernels read them.

        Source of the options: onnxruntime_session_options_config_keys.h of onnxruntime 1.31.
        """
        _sweep()
        # Mappings outlive the folder; their memory is the page cache's, and the system may take it back.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)))
        if shutil.disk_usage(folder).free < _DISK_FACTOR * sum(size for _, _, size, _, _ in self.stamps.values()):
            raise OSError("no room")
        options = session_options(1)
        options.optimized_model_filepath = str(folder / MODEL_NAME)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS_NAME)
        options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
        onnxruntime.InferenceSession(self.version.path / MODEL_NAME, options, providers=[CPU])
        verify_unchanged(self.version.path, self.stamps)
        return folder / MODEL_NAME


def _sweep() -> None:
    """Remove what a process left that was killed while it prepared."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):  # another process removes it, too
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder)


def _open_prepared(path: Path, own_arena: bool, way: Way) -> Any:
    options = session_options(way.threads, spinning=way.spinning, own_arena=own_arena)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(path, options, providers=[CPU])
    except Exception as exc:  # as above
        raise ModelUnavailable(f"{MODEL_NAME}: its optimised form cannot be loaded: {type(exc).__name__}.") from exc
