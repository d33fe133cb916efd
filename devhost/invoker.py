"""Owns one invocation from trigger to end: input bindings, the worker's run, output bindings, the lines on the console.

It knows nothing of HTTP or queues; a trigger calls it and acts on the outcome.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from devhost import console
from devhost.binding_expressions import BindingData
from devhost.errors import HostNotRunning
from devhost.functions import Function
from devhost.messages import Invocation, Outcome, Value
from devhost.worker_pool import WorkerPool

if TYPE_CHECKING:
    from devhost.data_bindings import DataBindings


class Occasion(Struct, frozen=True):
    """What made the trigger fire: its value, its metadata, and the data for binding expressions."""

    value: Value
    trigger_metadata: Mapping[str, Value] = field(default_factory=dict)
    binding_data: BindingData = field(default_factory=dict)
    trace_parent: str = ""
    trace_state: str = ""
    reason: str = "This function was programmatically called via the host APIs."


#: Runs a function on an occasion, as `Invoker.invoke` does.
type Invoke = Callable[[Function, Occasion], Awaitable[Outcome]]


class Invoker:
    """Runs functions in the pool's workers. `data_bindings` may come later than the first invocation."""

    def __init__(
        self,
        pool: WorkerPool,
        data_bindings: "asyncio.Future[DataBindings]",
        timeout_seconds: float,
        *,
        is_verbose: bool,
    ) -> None:
        self._pool = pool
        self._data_bindings = data_bindings
        self._timeout_seconds = timeout_seconds
        self._is_verbose = is_verbose
        #: Invocations begun and not ended, waiting for a worker or running.
        self.outstanding = 0

    async def invoke(self, function: Function, occasion: Occasion) -> Outcome:
        """Run a function once. Every failure is an outcome that says so, but HostNotRunning, which is raised."""
        invocation_id = str(uuid.uuid4())
        started = time.monotonic()
        if self._is_verbose:
            console.log(f"Executing 'Functions.{function.name}' (Reason='{occasion.reason}', Id={invocation_id})")
        self.outstanding += 1
        try:
            outcome = await self._run(function, occasion, invocation_id)
        except HostNotRunning:
            raise
        except Exception as error:
            # A lost worker, a time-out, a binding that Storage refused: the function failed, the host goes on.
            outcome = Outcome(False, error=f"{type(error).__name__}: {error}")
        finally:
            self.outstanding -= 1
        if not outcome.succeeded or self._is_verbose:
            _report(function, invocation_id, outcome, time.monotonic() - started)
        return outcome

    async def _run(self, function: Function, occasion: Occasion, invocation_id: str) -> Outcome:
        inputs = [(function.trigger.name, occasion.value)]
        if function.inputs:
            inputs += await (await asyncio.shield(self._data_bindings)).read_inputs(function, occasion.binding_data)
        invocation = Invocation(
            invocation_id=invocation_id,
            function_id=function.function_id,
            inputs=inputs,
            trigger_metadata=occasion.trigger_metadata,
            trace_parent=occasion.trace_parent,
            trace_state=occasion.trace_state,
        )
        outcome = await self._pool.invoke(invocation, self._timeout_seconds)
        if outcome.succeeded and function.outputs:
            await (await asyncio.shield(self._data_bindings)).write_outputs(function, outcome, occasion.binding_data)
        return outcome


def _report(function: Function, invocation_id: str, outcome: Outcome, seconds: float) -> None:
    state = "Succeeded" if outcome.succeeded else "Failed"
    console.log(
        f"Executed 'Functions.{function.name}' ({state}, Id={invocation_id}, Duration={round(seconds * 1000)}ms)"
    )
    if not outcome.succeeded:
        stack = f"\nStack: {outcome.traceback.rstrip()}" if outcome.traceback else ""
        console.log(
            f"System.Private.CoreLib: Exception while executing function: Functions.{function.name}. "
            f"Result: Failure\nException: {outcome.error}{stack}"
        )
