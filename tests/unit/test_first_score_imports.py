"""What a cold start imports before the first score: every module here is paid for by the request that waits."""

import subprocess
import sys

_LATER = ("azure.storage", "aiohttp", "httpx", "inference.batch.record", "inference.fetch", "opentelemetry.sdk")
#: Nor, at any time: typer needs it, and it would take a start 80 ms and a worker 8 MB.
_NEVER = ("pydantic",)


def test_first_score_imports_neither_storage_nor_batches_nor_exporters() -> None:
    program = "import sys, inference.http.edge, inference.services.composition; print(*sys.modules)"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = ended.stdout.split()
    assert "onnxruntime" in loaded
    assert [name for name in loaded if name.startswith((*_LATER, *_NEVER))] == []
