"""function_app.py: which functions there are, and what importing it costs and touches."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

FUNCTIONS = """\
import json, function_app
for function in function_app.app.get_functions():
    trigger = next(b for b in json.loads(function.get_function_json())["bindings"] if b["direction"] == "IN")
    print(json.dumps([function.get_function_name(), trigger["type"], trigger.get("route") or trigger.get("queueName"),
                      trigger.get("methods"), trigger.get("authLevel")]))
"""

COST = """\
import sys, time
import azure.functions
started = time.process_time()
import function_app
print(time.process_time() - started)
print(sorted(set(sys.modules) & {"onnxruntime", "numpy", "PIL", "azure.storage.blob", "aiohttp", "msgspec"}))
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_functions_are_these() -> None:
    found = {name: rest for name, *rest in map(json.loads, run(FUNCTIONS).splitlines())}

    get, post, both, probe = ["GET"], ["POST"], ["GET", "POST"], ["GET", "HEAD"]
    http = {
        "score": ("score", both, "FUNCTION"),
        "score_model": ("models/{model}/score", both, "FUNCTION"),
        "score_model_version": ("models/{model}/versions/{version}/score", both, "FUNCTION"),
        "list_models": ("models", get, "FUNCTION"),
        "show_model": ("models/{model}", get, "FUNCTION"),
        "reload_model": ("models/{model}/reload", post, "ADMIN"),
        "submit_batch": ("batches", post, "FUNCTION"),
        "list_batches": ("batches", get, "FUNCTION"),
        "batch_status": ("batches/{batch_id}", get, "FUNCTION"),
        "batch_results": ("batches/{batch_id}/results", get, "FUNCTION"),
        "cancel_batch": ("batches/{batch_id}", ["DELETE"], "FUNCTION"),
        "list_dead_letters": ("deadletters", get, "FUNCTION"),
        "export_dead_letters": ("deadletters/export", get, "FUNCTION"),
        "replay_dead_letters": ("deadletters/replay", post, "FUNCTION"),
        "purge_dead_letters": ("deadletters/purge", post, "FUNCTION"),
        "health": ("health", probe, "ANONYMOUS"),
        "ready": ("ready", probe, "ANONYMOUS"),
        "version": ("version", get, "ANONYMOUS"),
        "openapi": ("openapi.json", get, "ANONYMOUS"),
        "swagger": ("swagger.json", get, "ANONYMOUS"),
        "api_docs": ("docs", get, "ANONYMOUS"),
        "console": ("ui", get, "ANONYMOUS"),
    }
    http |= {
        "oip_server": ("v2", get, "FUNCTION"),
        "oip_live": ("v2/health/live", probe, "ANONYMOUS"),
        "oip_ready": ("v2/health/ready", probe, "ANONYMOUS"),
        "oip_statistics": ("v2/models/stats", get, "FUNCTION"),
        "oip_index": ("v2/repository/index", post, "FUNCTION"),
        "oip_load": ("v2/repository/models/{model}/load", post, "ADMIN"),
        "oip_unload": ("v2/repository/models/{model}/unload", post, "ADMIN"),
        "oip_unsupported": ("v2/{area}/{*path}", both, "FUNCTION"),
    }
    for whose, path in {
        "oip_model": "v2/models/{model}",
        "oip_version": "v2/models/{model}/versions/{version}",
    }.items():
        http |= {
            whose: (path, get, "FUNCTION"),
            f"{whose}_ready": (f"{path}/ready", get, "FUNCTION"),
            f"{whose}_config": (f"{path}/config", get, "FUNCTION"),
            f"{whose}_statistics": (f"{path}/stats", get, "FUNCTION"),
            f"{whose}_infer": (f"{path}/infer", post, "FUNCTION"),
        }
    expected: dict[str, list[object]] = {name: ["httpTrigger", *rest] for name, rest in http.items()}
    for name, queue in {
        "expand_manifest": "batch-manifests",
        "score_shard": "batch-shards",
        "finish_batch": "batch-finish",
        "recover_manifest": "batch-manifests-poison",
        "recover_shard": "batch-shards-poison",
        "recover_finish": "batch-finish-poison",
    }.items():
        expected[name] = ["queueTrigger", queue, None, None]
    expected["poll_models"] = ["timerTrigger", None, None, None]
    expected["warm_up"] = ["warmupTrigger", None, None, None]
    assert found == expected


def test_importing_it_loads_nothing_heavy() -> None:
    seconds, modules = run(COST).splitlines()

    assert modules == "[]"
    # CPU seconds beside azure.functions itself; the budget of the whole import is 0.3 s.
    assert float(seconds) < 0.1
