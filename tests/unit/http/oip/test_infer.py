"""Infer on the engine: admission, deadline, callers that leave, and models that the protocol cannot name whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.engine import Engine
from inference.errors import DeadlineExceeded, InferenceError, InferenceFailed, InvalidRequest, Overloaded
from inference.http.messages import Request, Response
from inference.http.oip.infer import InferRoutes, Limits
from inference.http.oip.metadata import describe_config, describe_model
from inference.http.oip.statistics import Statistics
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.models.source import FolderSource
from inference.settings import FetchLimits, ImageSettings, RequestLimits
from tests.hosting import eventually
from tests.unit.models.published import Shape, build_model, endless_loop, write_version

MATRIX: tuple[int, Shape] = (TensorProto.FLOAT, ["rows", 2])


def ends_for_zeros_alone() -> bytes:
    """A loop that goes on for ever unless every input is 0."""
    return build_model(
        [
            helper.make_node("ReduceMax", ["x"], ["highest"], keepdims=0),
            helper.make_node("Greater", ["highest", "zero"], ["starts"]),
            endless_loop("starts", "x", "y"),
        ],
        inputs={"x": MATRIX},
        outputs={"y": MATRIX},
        constants=[numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )


def with_a_sequence() -> bytes:
    """A model with an output that is no tensor beside one that is."""
    model = build_model(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("SequenceConstruct", ["x"], ["list"])],
        inputs={"x": MATRIX},
        outputs={"y": MATRIX},
    )
    proto = onnx.load_from_string(model)
    proto.graph.output.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None))
    return bytes(proto.SerializeToString())


def fails_beyond_its_table() -> bytes:
    """A model that looks rows up, and fails for one that is not there."""
    return build_model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        inputs={"x": (TensorProto.INT64, MATRIX[1])},
        outputs={"y": MATRIX},
        constants=[numpy_helper.from_array(np.zeros(4, np.float32), "table")],
    )


MODELS = {"endless": ends_for_zeros_alone, "sequence": with_a_sequence, "table": fails_beyond_its_table}


class Service:
    """The infer route with all that is real below it; one core, and none may wait for it."""

    def __init__(self, folder: Path, executor: ThreadPoolExecutor, timeout_seconds: float = 60.0) -> None:
        self.engine = Engine(1, 0)
        source = FolderSource(ModelRepository(folder), executor)
        self.registry = ModelRegistry(source, executor, load=load_ready_session)
        self.statistics = Statistics()
        limits = Limits(RequestLimits(timeout_seconds=timeout_seconds), ImageSettings(), FetchLimits())
        self.routes = InferRoutes(self.registry, self.engine, self.statistics, limits)

    async def infer(self, model: str, data: list[float], datatype: str = "FP32", **more: Any) -> Response:
        tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "data": data}
        body = orjson.dumps({"inputs": [tensor], **more})
        return await self.routes.infer(Request("POST", "", {"model": model}, body=body, id="r"))

    def counts(self, model: str) -> Mapping[str, int]:
        stats = self.statistics.describe(model, "1")["inference_stats"]
        return {name: stats[name]["count"] for name in ("success", "fail")}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    for name, make in MODELS.items():
        write_version(tmp_path, make(), name=name, toml='task = "tensor"\n')
    return tmp_path


@pytest.fixture
async def executor() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@pytest.fixture
async def service(folder: Path, executor: ThreadPoolExecutor) -> AsyncIterator[Service]:
    service = Service(folder, executor)
    yield service
    service.engine.close()
    await service.registry.close()


async def test_when_no_more_may_wait_the_request_is_refused_at_once_and_counted(service: Service) -> None:
    await service.registry.get("endless")
    with service.engine.admit(), pytest.raises(Overloaded):
        await service.infer("endless", [0, 0])

    assert service.counts("endless") == {"success": 0, "fail": 1}
    assert (await service.infer("endless", [0, 0])).status == 200
    assert service.counts("endless") == {"success": 1, "fail": 1}


async def test_a_run_over_its_deadline_is_ended_and_the_core_is_free_again(
    folder: Path, executor: ThreadPoolExecutor
) -> None:
    service = Service(folder, executor, timeout_seconds=0.5)
    await service.registry.get("endless")

    with pytest.raises(DeadlineExceeded):
        await service.infer("endless", [1, 0])

    assert (await eventually(lambda: _infer_if_admitted(service))).status == 200
    service.engine.close()
    await service.registry.close()


async def test_a_model_that_loads_is_waited_for_no_longer_than_the_deadline(
    folder: Path, executor: ThreadPoolExecutor
) -> None:
    service = Service(folder, executor, timeout_seconds=0.2)
    is_done = threading.Event()
    executor.submit(is_done.wait)  # the only thread that could load it

    try:
        async with asyncio.timeout(120):
            with pytest.raises(DeadlineExceeded):
                await service.infer("endless", [0, 0])
    finally:
        is_done.set()

    assert (await service.registry.get("endless")).version.name == "endless"
    service.engine.close()
    await service.registry.close()


async def test_a_caller_that_leaves_ends_the_run(service: Service) -> None:
    await service.registry.get("endless")
    request = asyncio.create_task(service.infer("endless", [1, 0]))
    await eventually(lambda: _is_full(service.engine))

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    assert (await eventually(lambda: _infer_if_admitted(service))).status == 200
    assert service.counts("endless")["success"] == 1


async def _is_full(engine: Engine) -> bool:
    try:
        with engine.admit():
            return False
    except Overloaded:
        return True


async def _infer_if_admitted(service: Service) -> Any:
    """The thread of a run that was ended frees its core when it notices."""
    try:
        return await service.infer("endless", [0, 0])
    except (Overloaded, DeadlineExceeded):
        return None


async def test_outputs_that_are_no_tensors_are_left_out(service: Service) -> None:
    session = await service.registry.get("sequence")

    reply = orjson.loads((await service.infer("sequence", [1, 2])).body)

    assert [output["name"] for output in reply["outputs"]] == ["y"]
    assert [output["name"] for output in describe_model(session, ["1"])["outputs"]] == ["y"]
    assert [output["name"] for output in describe_config(session, 32)["output"]] == ["y"]
    with pytest.raises(InvalidRequest, match="list is not a tensor"):
        await service.infer("sequence", [1, 2], outputs=[{"name": "list"}])


async def test_a_run_that_fails_says_so_and_the_next_one_works(service: Service) -> None:
    with pytest.raises(InferenceFailed, match="run failed"):
        await service.infer("table", [0, 9], datatype="INT64")

    assert (await service.infer("table", [0, 3], datatype="INT64")).status == 200
    assert service.counts("table") == {"success": 1, "fail": 1}


async def test_a_request_for_nothing_known_is_not_counted(service: Service) -> None:
    with pytest.raises(InferenceError, match=r"^Request for unknown model: 'nobody' is not found$"):
        await service.infer("nobody", [1, 2])

    assert service.counts("nobody") == {"success": 0, "fail": 0}
