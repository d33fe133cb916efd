"""What a cold start imports before the first score: every module here is paid for by the request that waits."""

import subprocess
import sys

_LATER = ("azure.storage", "aiohttp", "httpx", "inference.batch.record", "inference.fetch", "opentelemetry.sdk")
#: Nor, at any time: typer needs it, and it would take a start 80 ms and a worker 8 MB.
_NEVER = ("pydantic",)
#: While these are imported, other threads read and verify the model's files.
_BESIDE = ("numpy", "onnxruntime", "PIL")


def imported_by(*modules: str) -> list[str]:
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_first_score_imports_neither_storage_nor_batches_nor_exporters() -> None:
    loaded = imported_by("inference.http.edge", "inference.services.scoring", "inference.models.loading")

    assert "onnxruntime" in loaded
    assert [name for name in loaded if name.startswith((*_LATER, *_NEVER))] == []


def test_models_are_looked_up_before_what_they_run_on_is_imported() -> None:
    loaded = imported_by("inference.http.edge", "inference.services.composition")

    assert "inference.models.registry" in loaded
    assert [name for name in loaded if name.startswith((*_BESIDE, *_LATER, *_NEVER))] == []
