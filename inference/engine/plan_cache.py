"""Execution plans on disk, so that a model is timed once on a kind of machine and not by each process.

It refuses to fail: a plan that cannot be read or written is timed again, which costs a second.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import orjson
from msgspec.structs import asdict

from inference.engine.plan import ExecutionPlan

_log = logging.getLogger("inference.engine")
_MAX_BYTES = 4096
#: As in model.toml.
_MAX_COUNT = 1024
_ORIGINS = ("tuned", "declared")


class PlanCache:
    """Plans by what they depend on: the model, the cores, the runtime and the processor."""

    def __init__(self, folder: str, runtime: str, processor: str | None = None) -> None:
        """`folder` "" is one in the folder for temporary files; `runtime` names onnxruntime's version and providers."""
        # One folder for each user: in a shared folder for temporary files another one's could not be trusted.
        default = Path(tempfile.gettempdir()) / f"onnxfn-plans-{os.geteuid()}"
        self._folder = Path(folder) if folder else default
        self._runtime = runtime
        self._processor = _read_processor() if processor is None else processor

    def read(self, model: str, cores: int) -> ExecutionPlan | None:
        """Return the plan of a model (its checksum, and what else is its own), None where there is none that fits."""
        path = self._path(model, cores)
        try:
            if path.parent.stat().st_uid != os.geteuid() or path.stat().st_size > _MAX_BYTES:
                return None
            plan = _parse(path.read_bytes())
        except (OSError, ValueError, TypeError):
            return None
        return plan

    def write(self, model: str, cores: int, plan: ExecutionPlan) -> None:
        """Keep a plan; readers see all of it or none."""
        path = self._path(model, cores)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.parent.stat().st_uid != os.geteuid():
                return
            partial.write_bytes(orjson.dumps(asdict(plan)))
            partial.replace(path)
        except OSError as exc:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            extra = {"action": "plan_not_kept", "reason": exc.strerror}
            _log.warning("plan not kept: %s", exc.strerror, extra=extra)

    def _path(self, model: str, cores: int) -> Path:
        key = "\n".join((model, str(cores), self._runtime, self._processor))
        return self._folder / f"{sha256(key.encode()).hexdigest()}.json"


def _parse(data: bytes) -> ExecutionPlan:
    """Raises ValueError or TypeError for what is no plan."""
    plan = ExecutionPlan(**orjson.loads(data))
    counts = (plan.threads, plan.parallel, plan.max_batch, plan.idle_threads)
    if not all(type(count) is int and 1 <= count <= _MAX_COUNT for count in counts):
        raise ValueError("a count is out of bounds")
    if plan.idle_threads < plan.threads or type(plan.spinning) is not bool or plan.origin not in _ORIGINS:
        raise ValueError("the parts contradict each other")
    return plan


def _read_processor() -> str:
    """Return the processor's name: in a container that moves, a plan is of the machine it was timed on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
