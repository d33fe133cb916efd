"""A model session: a model version that is loaded, with its spec; how it runs, and by which plan.

It refuses to load anything, and never says where on the disk anything lies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engine.heap import give_back_freed_memory
from inference.engine.measurement import Interrupted, OpenRun
from inference.engine.plan import Declared, ExecutionPlan
from inference.errors import DeadlineExceeded, InferenceError, InferenceFailed, ModelUnavailable
from inference.models.lanes import Lanes, open_lanes
from inference.models.manifest import MODEL_NAME, Manifest
from inference.models.postprocess import check_outputs
from inference.models.repository import ModelVersion, naming
from inference.models.rows import check_rows
from inference.models.runtime import explain, shrinking_run_options
from inference.models.session_factory import SessionFactory, Way
from inference.models.signature import Signature, TensorInfo, read_signature
from inference.models.spec import ModelSpec
from inference.models.trial import TrialRuns

#: A first run allocates and may be many times slower than later ones, but one that takes this long never ends.
WARM_TIMEOUT_SECONDS = 60.0


class ModelSession:
    """A loaded model. `run` may be called by several threads at once."""

    #: One is to be held for each request, where not so many may be under way as there are cores; None: any number.
    turns: threading.Semaphore | None = None

    def __init__(
        self,
        version: ModelVersion,
        manifest: Manifest,
        spec: ModelSpec,
        session: Any,
        *,
        threads: int = 1,
        factory: SessionFactory | None = None,
    ) -> None:
        """`session` has `threads` threads; `factory` makes others of the same model."""
        self.version = version
        self.spec = spec
        self.signature: Signature = read_signature(session.get_inputs(), session.get_outputs())
        #: The sha256 of model.onnx; of the manifest, where a version has none.
        self.sha256 = manifest.files[MODEL_NAME].sha256 if MODEL_NAME in manifest.files else version.manifest_sha256
        #: The size of the version's files.
        self.bytes = manifest.total_bytes
        self._lanes = Lanes(None, session)
        self._threads = threads
        self._factory = factory
        # The graph's other outputs are then not even computed.
        self._output_names = [*spec.output_names] or [
            output.name for output in self.signature.outputs if output.is_plain
        ]

    @property
    def plan(self) -> ExecutionPlan | None:
        """How it runs; None as long as nobody has chosen."""
        return self._lanes.plan

    @property
    def has_idle_lane(self) -> bool:
        """Whether a run that has every core goes another way."""
        return self._lanes.idle is not None

    @property
    def declared(self) -> Declared:
        """What the author fixed of the plan."""
        fixed = self.spec.execution
        return Declared(fixed.threads, fixed.parallel, fixed.max_batch)

    @property
    def can_batch(self) -> bool:
        """Whether several items may be one run."""
        return self.spec.has_dynamic_batch and self.spec.input_name is not None

    def run(self, tensor: NDArray[Any], *, run_options: Any = None, is_alone: bool = False) -> dict[str, NDArray[Any]]:
        """Return the outputs by name for one tensor into the model's only input. Errors: see `run_tensors`."""
        if self.spec.input_name is None:
            raise InferenceFailed("The model has several inputs.")
        return self.run_tensors({self.spec.input_name: tensor}, run_options=run_options, is_alone=is_alone)

    def run_tensors(
        self,
        tensors: Mapping[str, NDArray[Any]],
        *,
        run_options: Any = None,
        output_names: Sequence[str] = (),
        is_alone: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs by name: those named, or those that the task reads.

        `is_alone` promises the run every core (`Engine.alone`).

        `run_options` is an `onnxruntime.RunOptions`; who sets its `terminate` ends the run. Raises DeadlineExceeded for
        a run that was ended so, InferenceFailed for one that failed.
        """
        names = output_names or self._output_names
        try:
            outputs = self._lanes.run(names, dict(tensors), run_options, is_alone=is_alone)
        except Exception as exc:  # onnxruntime's errors have no common base
            if run_options is not None and run_options.terminate:
                raise DeadlineExceeded("The model's run took longer than its deadline.") from exc
            raise InferenceFailed(f"The model's run failed: {explain(exc, self.version)}") from exc
        return dict(zip(names, outputs, strict=True))

    def warm(self, *, timeout_seconds: float = WARM_TIMEOUT_SECONDS) -> bool:
        """Run once on zeros, so that the first request does not pay for it, and check the shape of what comes out.

        Return whether it could: there is no run where only a real request can tell what fits. Raises ModelUnavailable
        when the model cannot run, does not end or gives other outputs than its task needs.
        """
        tensors = _zeros(self.signature, self.spec)
        if tensors is None:
            return False
        try:
            check_outputs(self.run_bounded(tensors, timeout_seconds=timeout_seconds), self.spec)
        except InferenceError as exc:
            raise ModelUnavailable(f"{self.version}: warm-up: {exc.message}") from exc
        return True

    @contextmanager
    def trial(self, is_free: Callable[[], bool]) -> Iterator[OpenRun | None]:
        """Yield a function that opens ways to run items of zeros, to be timed; None where only real requests can run.

        Raises ModelUnavailable, as the function does. The runs raise InferenceFailed, also when other than so many rows
        come out, and Interrupted soon after `is_free` has said no.
        """
        zeros = _zeros(self.signature, self.spec)
        if zeros is None or self._factory is None:
            yield None
            return
        # Not the session that serves, nor its arena: a run of many items takes more than it will ever need.
        runs = TrialRuns()
        with self._factory.sharing(own_arena=True) as create, runs.watched(is_free):
            yield lambda threads, spinning: partial(self._run_zeros, runs, create(Way(threads, spinning)), zeros, [])

    def _run_zeros(
        self, runs: TrialRuns, session: Any, zeros: Mapping[str, NDArray[Any]], checked: list[bool], items: int
    ) -> None:
        """Run once; the first time that items are joined, hold them to what each gives alone, and note it."""
        feeds = {name: np.repeat(tensor, items, axis=0) if items > 1 else tensor for name, tensor in zeros.items()}
        outputs = self._try(runs, session, feeds)
        if items > 1:
            check_rows(dict(zip(self._output_names, outputs, strict=True)), items)
        if items > 1 and not checked:
            self._check_apart(runs, session, zeros)
            checked.append(True)

    def _try(self, runs: TrialRuns, session: Any, feeds: Mapping[str, NDArray[Any]]) -> Sequence[Any]:
        try:
            return runs.run(session, self._output_names, feeds)
        except Interrupted:
            raise
        except Exception as exc:  # onnxruntime's errors have no common base
            raise InferenceFailed(f"The model's run failed: {explain(exc, self.version)}") from exc

    def _check_apart(self, runs: TrialRuns, session: Any, zeros: Mapping[str, NDArray[Any]]) -> None:
        """Raise InferenceFailed where an item's outputs depend on who else is in its run.

        So it is with dynamic quantization, which takes its scale from all items of a run.
        """
        feeds = [{name: _noise(tensor, reach) for name, tensor in zeros.items()} for reach in (1, 16)]
        joined = self._try(runs, session, {name: np.concatenate([feed[name] for feed in feeds]) for name in zeros})
        for row, feed in enumerate(feeds):
            for alone, rows in zip(self._try(runs, session, feed), joined, strict=True):
                if not _is_same(rows[row : row + 1], alone):
                    raise InferenceFailed("The model's outputs for an item depend on the others of its run.")

    def adopt(self, plan: ExecutionPlan) -> None:
        """Run by this plan from now on; runs under way end as they began. Raises ModelUnavailable."""
        if self._factory is None:
            return
        with naming(self.version):
            lanes = open_lanes(plan, self._lanes, self._threads, self._factory)
            if lanes.loaded is not self._lanes.loaded:
                self._check_lanes(lanes)
        self._threads, self._lanes = plan.threads, lanes
        give_back_freed_memory()

    def _check_lanes(self, lanes: Lanes) -> None:
        """Warm new lanes, and hold what they give to what the lane gives that serves."""
        zeros = _zeros(self.signature, self.spec)
        if zeros is None:
            return
        expected = self._lanes.run(self._output_names, zeros, None, is_alone=False)
        for is_alone in (False, True):
            outputs = lanes.run(self._output_names, zeros, None, is_alone=is_alone)
            if not all(map(_is_close, outputs, expected)):
                raise ModelUnavailable("the plan's sessions give other outputs.")

    def run_bounded(
        self, tensors: Mapping[str, NDArray[Any]], *, timeout_seconds: float = WARM_TIMEOUT_SECONDS
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs by name; a run that takes longer is ended. Errors: see `run_tensors`.

        As such runs are rare, and the first of a model, the arena gives back what models that were dropped had needed.
        """
        run_options = shrinking_run_options()
        timer = threading.Timer(timeout_seconds, setattr, (run_options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self.run_tensors(tensors, run_options=run_options)
        finally:
            timer.cancel()


def _zeros(signature: Signature, spec: ModelSpec) -> dict[str, NDArray[Any]] | None:
    """Return an input of zeros or empty strings; None where only a real request can tell a size or a text that fits."""
    if spec.image is not None and spec.input_name is not None:
        size = (spec.image.height, spec.image.width)
        shape = (1, spec.image.channels, *size) if spec.image.layout == "NCHW" else (1, *size, spec.image.channels)
        return {spec.input_name: np.zeros(shape, spec.image.dtype)}
    if any(None in tensor.shape[1:] or not tensor.is_plain for tensor in signature.inputs):
        return None
    if spec.task == "tensor" and any(tensor.dtype == "string" for tensor in signature.inputs):
        return None  # strings of a tensor model may be numbers or dates, which an empty one is not
    return {tensor.name: _zero(tensor) for tensor in signature.inputs}


def _is_close(actual: Any, expected: Any) -> bool:
    """Tell whether an output is the same but for its last bits; only numbers that are no index or label can tell."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind != "f":
        return True
    return actual.shape == expected.shape and np.allclose(actual, expected, rtol=0.01, atol=0.01, equal_nan=True)


def _noise(zeros: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return random numbers from 0 to `reach` in place of zeros; texts as they are."""
    if zeros.dtype.kind not in "fiu":
        return zeros
    return (np.random.default_rng(reach).random(zeros.shape) * reach).astype(zeros.dtype)


def _is_same(actual: Any, expected: Any) -> bool:
    """Tell whether an output is the same but for what kernels for one row and for many may round in other ways."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind != "f" or not expected.size:
        return True
    expected = expected.astype(np.float64)
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max()
    return actual.shape == expected.shape and np.allclose(
        actual, expected, rtol=0, atol=0.002 * largest, equal_nan=True
    )


def _zero(tensor: TensorInfo) -> NDArray[Any]:
    shape = tuple(1 if size is None else size for size in tensor.shape)
    return np.full(shape, "", object) if tensor.dtype == "string" else np.zeros(shape, tensor.dtype)
