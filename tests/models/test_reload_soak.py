"""Thirty reloads, each of a version with its own weights, leave no session behind."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import pytest

RELOADS = 30

#: Resident memory at the end (median of the last five) may be so many times what it was at first (of the second five).
#: The allocator keeps a session's worth about, more or less by chance. A session that stayed would add its 16 MiB of
#: weights and their packed copy with each reload: 600 MiB and more on top of about 180.
MAX_RATIO = 1.5

SOAK = """\
import asyncio, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, psutil
from onnx import TensorProto, helper, numpy_helper
from inference.models.publication import remove_version_folder
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.models.source import FolderSource
from tests.unit.models.published import build_model, write_version

SIDE = 2048

def model(seed):
    weight = np.random.default_rng(seed).standard_normal((SIDE, SIDE), np.float32)
    return build_model(
        [helper.make_node("MatMul", ["input", "weight"], ["logits"])],
        inputs={"input": (TensorProto.FLOAT, ["batch", SIDE])},
        outputs={"logits": (TensorProto.FLOAT, ["batch", SIDE])},
        constants=[numpy_helper.from_array(weight, "weight")],
    )

async def soak(folder, executor, reloads):
    source = FolderSource(ModelRepository(folder), executor)
    registry = ModelRegistry(source, executor, load=load_ready_session, pinned=["tiny"])
    row = {"input": np.ones((1, SIDE), np.float32)}
    for number in range(1, reloads + 1):
        write_version(folder, model(number), version=str(number))
        await registry.reload("tiny")
        session = await registry.get("tiny")
        assert session.version.version == str(number)
        session.run_tensors(row)
        if number > 1:
            remove_version_folder(folder, "tiny", str(number - 1))
        print(psutil.Process().memory_info().rss, flush=True)
    await registry.close()

with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as executor:
    asyncio.run(soak(Path(folder), executor, int(sys.argv[1])))
"""


def test_memory_stays_where_it_was(pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SOAK, str(RELOADS)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resident = [int(line) for line in done.stdout.split()]

    assert len(resident) == RELOADS
    assert median(resident[-5:]) / median(resident[5:10]) < MAX_RATIO, [size >> 20 for size in resident]
