"""The score and model routes, as operations."""

from __future__ import annotations

from inference import errors
from inference.http.openapi import examples, failures
from inference.http.openapi.operation import Json, Operation, binary, query_parameter, reply
from inference.http.openapi.score_schemas import PARAMETERS, number_of
from inference.settings import RequestLimits

_SCORING: tuple[type[errors.InferenceError], ...] = (
    errors.ModelNotFound,
    errors.ModelVersionNotFound,
    *errors.ItemRejected.leaves(),
    *errors.OriginFailed.leaves(),
    errors.InferenceFailed,
    *errors.Unavailable.leaves(),
)
_BODY_ERRORS = (errors.PayloadTooLarge, errors.TooManyInputs, errors.UnsupportedMediaType)

_POST_DESCRIPTION = (
    "The image comes as a url, as base64, as the raw body or as the file of a form; a text, for a model of texts, as"
    " `text`, as a raw body of text/plain or as a url whose body it is (UTF-8). Several come as `inputs` or as several"
    f" files, at most INFERENCE_MAX_INPUTS ({RequestLimits().max_inputs} by default); each of them has its"
    " own outcome, and the reply is 200 although some failed. JSON bodies carry `parameters`, raw bodies take them"
    " from the query, forms from their fields. A version with a `score.py` takes the body as it is and answers what its"
    " `run` returns, in JSON, whatever the schemas here say."
)
_GET_DESCRIPTION = "The same as the POST with a url, to be tried in a browser."


_BODY: Json = {
    "application/json": {
        "schema": {"$ref": "#/components/schemas/ScoreRequest"},
        "examples": examples.SCORE_REQUESTS,
    },
    "image/*": {"schema": binary("image/*")},
    "application/octet-stream": {"schema": binary("application/octet-stream")},
    "text/plain": {"schema": {"type": "string"}},
    "multipart/form-data": {"schema": {"$ref": "#/components/schemas/ScoreForm"}},
}

_QUERY = tuple(query_parameter(name, number_of(name), description) for name, description in PARAMETERS.items())
_URL = query_parameter(
    "url", {"type": "string", "minLength": 1, "maxLength": 2048}, "Where the image is.", required=True
)


def _score_reply() -> Json:
    described = reply("The predictions.", "Score", examples=examples.SCORE_REPLIES)
    media = described["content"]["application/json"]
    media["schema"] = {"oneOf": [media["schema"], {"$ref": "#/components/schemas/Scores"}]}
    media["examples"] = {**media["examples"], "inputs": {"summary": "Several images", "value": examples.SCORES}}
    return described


def _score_operations(name: str, path: str, whose: str) -> list[Operation]:
    return [
        Operation(
            id=name,
            method="POST",
            path=path,
            tag="Score",
            summary=f"Score images with {whose}",
            description=_POST_DESCRIPTION,
            parameters=_QUERY,
            body=_BODY,
            replies={200: _score_reply()},
            raises=(errors.InvalidRequest, *_BODY_ERRORS, *_SCORING),
        ),
        Operation(
            id=f"{name}_by_url",
            method="GET",
            path=path,
            tag="Score",
            summary=f"Score the image at a url with {whose}",
            description=_GET_DESCRIPTION,
            parameters=(_URL, *_QUERY),
            replies={200: reply("The predictions.", "Score", examples=examples.SCORE_REPLIES)},
            raises=(errors.InvalidRequest, *_SCORING),
        ),
    ]


OPERATIONS = (
    *_score_operations("score", "/score", "the default model"),
    *_score_operations("score_model", "/models/{model}/score", "a model's serving version"),
    *_score_operations("score_model_version", "/models/{model}/versions/{version}/score", "one version of a model"),
    Operation(
        id="list_models",
        method="GET",
        path="/models",
        tag="Models",
        summary="List the models",
        description="What the repository holds. A model that no one asked for yet is `unloaded`.",
        replies={200: reply("Every model with its versions.", "Models", example={"models": [examples.MODEL]})},
        raises=failures.LOADING,
    ),
    Operation(
        id="show_model",
        method="GET",
        path="/models/{model}",
        tag="Models",
        summary="Describe a model",
        description=(
            "Loads the model first, so that its task, labels and checksum are known. One that cannot be loaded is"
            " `failed`, with the reason."
        ),
        replies={200: reply("The model.", "Model", example=examples.MODEL)},
        raises=(errors.ModelNotFound, *failures.LOADING),
    ),
    Operation(
        id="reload_model",
        method="POST",
        path="/models/{model}/reload",
        tag="Models",
        summary="Bring a model up to date",
        description=(
            "Looks at the repository now instead of at the next poll, in the process that answers, and forgets failed"
            " loads. The new version is loaded, warmed and checked before it replaces the old one; when that fails the"
            " reply says why, and the old one goes on serving. A load that takes longer than a request may goes on, and"
            " the reply is a 504."
        ),
        is_admin=True,
        replies={200: reply("The model.", "Model", example=examples.MODEL)},
        raises=(errors.InvalidRequest, errors.ModelNotFound, errors.DeadlineExceeded, *failures.LOADING),
    ),
)
