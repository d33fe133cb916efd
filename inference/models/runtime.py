"""onnxruntime's sessions: how one is made, by which execution providers, and what its errors say to a caller.

It refuses to fall silent when a wanted provider is missing, and to name a folder in an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import onnxruntime

from inference.errors import ModelUnavailable
from inference.models.manifest import MODEL_NAME
from inference.models.mistaken_file import name_mistake
from inference.models.repository import ModelVersion

_log = logging.getLogger("inference.models")

CPU = "CPUExecutionProvider"

_LOG_SEVERITY_FATAL = 4
_CODE_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_ABSOLUTE_PATH = re.compile(r"(?<![\w.])/(?:[^\s/:'\"]+/)+")
#: Where in onnxruntime's source an error arose; with the function's arguments it is longer than what it says.
_SOURCE_LINE = re.compile(r" ?(?<![\w./-])[\w./-]+\.(?:cc|h):\d+ (?:[^()]*::[\w~]+\([^()]*\) )?")
_MAX_REASON_CHARACTERS = 500
#: Names of a hostile model may be megabytes; all that is kept stands at the beginning.
_MAX_READ_CHARACTERS = 4000


def create_session(
    version: ModelVersion, threads: int, *, spinning: bool = False, providers: Sequence[str] = (CPU,)
) -> Any:
    """Return an `onnxruntime.InferenceSession` of the version's model.onnx.

    `spinning` lets the threads of a run burn CPU between its nodes to wake up faster; they stop when it ends. A
    provider that fails is warned of and done without. Raises ModelUnavailable.
    """
    try:
        return _create(version, threads, spinning, providers)
    except Exception as exc:  # onnxruntime's errors have no common base
        if [*providers] == [CPU]:
            reason = name_mistake(version.path / MODEL_NAME) or explain(exc, version)
            raise ModelUnavailable(f"{MODEL_NAME}: onnxruntime refuses it: {reason}") from exc
        _warn(f"{version} runs on the CPU: {', '.join(providers)} failed: {explain(exc, version)}")
        return create_session(version, threads, spinning=spinning)


def choose_providers(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted execution providers that this onnxruntime has, in order, and the CPU last; warn of others."""
    available = onnxruntime.get_available_providers()
    for name in wanted:
        if name not in available:
            _warn(f"This onnxruntime has no {name}; it has {', '.join(available)}.")
    return (*(name for name in wanted if name in available and name != CPU), CPU)


def name_runtime(providers: Sequence[str]) -> str:
    """Return what timings depend on: onnxruntime's version and its providers."""
    return f"{onnxruntime.__version__} {' '.join(providers)}"


def explain(exc: Exception, version: ModelVersion) -> str:
    """Return what onnxruntime says, without its prefix, lines of its source and any folder's name."""
    message = _SOURCE_LINE.sub(
        " ", _CODE_PREFIX.sub("", str(exc)[:_MAX_READ_CHARACTERS]).replace(f"{version.path}/", "")
    )
    return _ABSOLUTE_PATH.sub("", message).strip()[:_MAX_REASON_CHARACTERS]


def session_options(threads: int, *, spinning: bool = False, own_arena: bool = False) -> Any:
    """Return `onnxruntime.SessionOptions` for runs on so many threads.

    What runs compute lies in one arena for all sessions of the process, so that it is as large as what is computed at
    once, not as the sum of all models; `own_arena` is for a session whose runs need more than any that serves.
    """
    options = onnxruntime.SessionOptions()
    if not own_arena and _has_shared_arena():
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Weights go with their session.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if spinning:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    # What goes wrong comes back as an exception; on stderr it would say where the files lie.
    options.log_severity_level = _LOG_SEVERITY_FATAL
    return options


def shrinking_run_options() -> Any:
    """Return `onnxruntime.RunOptions` for a run after which the arena gives back what no run uses."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


@cache
def _has_shared_arena() -> bool:
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    try:
        # The defaults: no bound, and it grows by doubling.
        onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
    except Exception:  # onnxruntime's errors have no common base; each session has an arena of its own then
        return False
    return True


def _create(version: ModelVersion, threads: int, spinning: bool, providers: Sequence[str]) -> Any:
    options = session_options(threads, spinning=spinning)
    # onnxruntime's own fallback would be told on stdout alone; where a run fails, it is better than none.
    session = onnxruntime.InferenceSession(
        version.path / MODEL_NAME, options, providers=[*providers], enable_fallback=False
    )
    session.enable_fallback()
    if missing := [name for name in providers if name not in session.get_providers()]:
        _warn(f"{version} runs without {', '.join(missing)}: onnxruntime could not set it up.")
    return session


def _warn(message: str) -> None:
    _log.warning(message, extra={"action": "execution_provider_missing"})
