"""Bindings only: which trigger and route leads to which handler. No logic; importing this file touches nothing."""

import azure.functions as func
from azure.functions.warmup import WarmUpContext  # azure.functions names it in __all__ but does not import it

from inference import wiring

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

STORAGE = "AzureWebJobsStorage"
ANONYMOUS = func.AuthLevel.ANONYMOUS
ADMIN = func.AuthLevel.ADMIN


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


@app.route("models/{model}/reload", methods=["POST"], auth_level=ADMIN)
async def reload_model(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("reload_model", req)


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


@app.route("health", methods=["GET", "HEAD"], auth_level=ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("health", req)


@app.route("ready", methods=["GET", "HEAD"], auth_level=ANONYMOUS)
async def ready(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("ready", req)


@app.route("version", methods=["GET"], auth_level=ANONYMOUS)
async def version(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("version", req)


@app.route("openapi.json", methods=["GET"], auth_level=ANONYMOUS)
async def openapi(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("openapi", req)


@app.route("swagger.json", methods=["GET"], auth_level=ANONYMOUS)
async def swagger(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("openapi", req)


@app.route("docs", methods=["GET"], auth_level=ANONYMOUS)
async def api_docs(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("docs", req)


@app.route("ui", methods=["GET"], auth_level=ANONYMOUS)
async def console(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("ui", req)


@app.route("v2", methods=["GET"])
async def oip_server(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_server", req)


@app.route("v2/health/live", methods=["GET", "HEAD"], auth_level=ANONYMOUS)
async def oip_live(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_live", req)


@app.route("v2/health/ready", methods=["GET", "HEAD"], auth_level=ANONYMOUS)
async def oip_ready(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_ready", req)


@app.route("v2/models/stats", methods=["GET"])
async def oip_statistics(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_statistics", req)


@app.route("v2/models/{model}", methods=["GET"])
async def oip_model(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_model", req)


@app.route("v2/models/{model}/ready", methods=["GET"])
async def oip_model_ready(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_model_ready", req)


@app.route("v2/models/{model}/config", methods=["GET"])
async def oip_model_config(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_config", req)


@app.route("v2/models/{model}/stats", methods=["GET"])
async def oip_model_statistics(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_statistics", req)


@app.route("v2/models/{model}/infer", methods=["POST"])
async def oip_model_infer(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_infer", req)


@app.route("v2/models/{model}/versions/{version}", methods=["GET"])
async def oip_version(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_model", req)


@app.route("v2/models/{model}/versions/{version}/ready", methods=["GET"])
async def oip_version_ready(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_model_ready", req)


@app.route("v2/models/{model}/versions/{version}/config", methods=["GET"])
async def oip_version_config(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_config", req)


@app.route("v2/models/{model}/versions/{version}/stats", methods=["GET"])
async def oip_version_statistics(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_statistics", req)


@app.route("v2/models/{model}/versions/{version}/infer", methods=["POST"])
async def oip_version_infer(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_infer", req)


@app.route("v2/repository/index", methods=["POST"])
async def oip_index(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_index", req)


@app.route("v2/repository/models/{model}/load", methods=["POST"], auth_level=ADMIN)
async def oip_load(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_load", req)


@app.route("v2/repository/models/{model}/unload", methods=["POST"], auth_level=ADMIN)
async def oip_unload(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_unload", req)


# Tritonclient reads an error from the body, which a 404 of the host itself does not have.
@app.route("v2/{area}/{*path}", methods=["GET", "POST"])
async def oip_unsupported(req: func.HttpRequest) -> func.HttpResponse:
    return await _respond("oip_unsupported", req)


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


# Every minute, by one replica at a time; each process also polls by itself when it is asked for a model.
@app.timer_trigger("timer", "0 * * * * *", use_monitor=False)
async def poll_models(timer: func.TimerRequest) -> None:  # noqa: ARG001 -- the binding is named after it
    await wiring.poll_models()


@app.warm_up_trigger("warmup")
async def warm_up(warmup: WarmUpContext) -> None:  # noqa: ARG001 -- the binding is named after it
    await wiring.warm_up()
