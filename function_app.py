"""Bindings only: which trigger and route leads to which handler. No logic; importing this file touches nothing."""

import azure.functions as func
from azure.functions.warmup import WarmUpContext  # azure.functions names it in __all__ but does not import it

from inference import wiring

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

STORAGE = "AzureWebJobsStorage"
ANONYMOUS = func.AuthLevel.ANONYMOUS


async def _respond(route: str, req: func.HttpRequest) -> func.HttpResponse:
    status, body, headers = await wiring.respond(
        route, req.method, req.url, req.route_params, req.params, req.headers, req.get_body()
    )
    return func.HttpResponse(body, status_code=status, headers=headers)


async def _handle(queue: str, msg: func.QueueMessage) -> None:
    await wiring.handle(queue, msg.get_body(), msg.id or "", msg.dequeue_count or 1)


@app.route("score", methods=["GET", "POST"])
async def score(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("score", req)


@app.route("models/{model}/score", methods=["GET", "POST"])
async def score_model(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("score", req)


@app.route("models/{model}/versions/{version}/score", methods=["GET", "POST"])
async def score_model_version(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("score", req)


@app.route("models", methods=["GET"])
async def list_models(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("list_models", req)


@app.route("models/{model}", methods=["GET"])
async def show_model(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("show_model", req)


@app.route("batches", methods=["POST"])
async def submit_batch(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("submit_batch", req)


@app.route("batches", methods=["GET"])
async def list_batches(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("list_batches", req)


@app.route("batches/{batch_id}", methods=["GET"])
async def batch_status(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("batch_status", req)


@app.route("batches/{batch_id}/results", methods=["GET"])
async def batch_results(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("batch_results", req)


@app.route("batches/{batch_id}", methods=["DELETE"])
async def cancel_batch(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("cancel_batch", req)


@app.route("deadletters", methods=["GET"])
async def list_dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("list_dead_letters", req)


@app.route("deadletters/export", methods=["GET"])
async def export_dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("export_dead_letters", req)


@app.route("deadletters/replay", methods=["POST"])
async def replay_dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("replay_dead_letters", req)


@app.route("deadletters/purge", methods=["POST"])
async def purge_dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("purge_dead_letters", req)


@app.route("health", methods=["GET"], auth_level=ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("health", req)


@app.route("ready", methods=["GET"], auth_level=ANONYMOUS)
async def ready(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("ready", req)


@app.route("version", methods=["GET"], auth_level=ANONYMOUS)
async def version(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("version", req)


@app.route("openapi.json", methods=["GET"], auth_level=ANONYMOUS)
async def openapi(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("openapi", req)


@app.route("docs", methods=["GET"], auth_level=ANONYMOUS)
async def api_docs(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("docs", req)


@app.route("ui", methods=["GET"], auth_level=ANONYMOUS)
async def console(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("ui", req)


@app.queue_trigger("msg", "batch-manifests", STORAGE)
async def expand_manifest(msg: func.QueueMessage) -> None:
    await _handle("batch-manifests", msg)


@app.queue_trigger("msg", "batch-shards", STORAGE)
async def score_shard(msg: func.QueueMessage) -> None:
    await _handle("batch-shards", msg)


@app.queue_trigger("msg", "batch-finish", STORAGE)
async def finish_batch(msg: func.QueueMessage) -> None:
    await _handle("batch-finish", msg)


@app.queue_trigger("msg", "batch-manifests-poison", STORAGE)
async def recover_manifest(msg: func.QueueMessage) -> None:
    await _handle("batch-manifests-poison", msg)


@app.queue_trigger("msg", "batch-shards-poison", STORAGE)
async def recover_shard(msg: func.QueueMessage) -> None:
    await _handle("batch-shards-poison", msg)


@app.queue_trigger("msg", "batch-finish-poison", STORAGE)
async def recover_finish(msg: func.QueueMessage) -> None:
    await _handle("batch-finish-poison", msg)


@app.warm_up_trigger("warmup")
async def warm_up(warmup: WarmUpContext) -> None:  # noqa: ARG001 -- the binding is named after it
    await wiring.warm_up()
