"""The API's description: it tells what function_app.py serves, and nothing it shows is wrong."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import fields

import function_app
from inference.batch.burials import BuriedMessage
from inference.batch.messages import ManifestMessage
from inference.batch.status import BatchStatus
from inference.errors import InferenceError, InvalidManifest, InvalidRequest
from inference.http.bodies import read_score_request
from inference.http.messages import Request
from inference.http.oip.requests import read_infer_request
from inference.http.openapi import document
from inference.http.queries import Selection, read_count
from inference.http.statuses import status_of
from inference.image import decode
from inference.settings import ImageSettings, RequestLimits
from tests.json_schema import problems, resolve

DOCUMENT = document("1.2.3", "https://app.example/api")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def schemas_with_examples() -> Iterator[Any]:
    for path, method, operation in operations():
        contents = {"body": operation.get("requestBody", {}).get("content", {})}
        contents |= {status: reply.get("content", {}) for status, reply in operation["responses"].items()}
        for part, content in contents.items():
            for media_type, media in content.items():
                examples = [example["value"] for example in media.get("examples", {}).values()]
                examples += [media["example"]] if "example" in media else []
                for number, example in enumerate(examples):
                    yield pytest.param(
                        media_type, media["schema"], example, id=f"{method} {path} {part} {media_type} {number}"
                    )


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def _auth_level(security: list[dict[str, Any]]) -> str:
    levels = {"functionKey": "FUNCTION", "masterKey": "ADMIN"}
    return levels[next(iter(security[0]))] if security else "ANONYMOUS"


def test_it_describes_every_route_of_the_app_with_its_methods_and_keys_and_no_other() -> None:
    served = set()
    for function in function_app.app.get_functions():
        trigger = next(one for one in json.loads(function.get_function_json())["bindings"] if one["direction"] == "IN")
        # A catch-all only says that there is nothing there.
        if trigger["type"] == "httpTrigger" and "*" not in trigger["route"]:
            # HEAD is GET without its body (RFC 9110), which goes without saying.
            methods = {*trigger["methods"]} - {"HEAD"}
            served |= {(f"/{trigger['route']}", method, trigger["authLevel"]) for method in methods}

    described = {(path, method.upper(), _auth_level(operation["security"])) for path, method, operation in operations()}
    assert described == served


def test_it_names_the_version_and_the_server_that_was_asked() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert DOCUMENT["servers"] == [{"url": "https://app.example/api"}]


def test_operation_ids_are_unique_and_tags_are_declared() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    tags = {tag for _, _, operation in operations() for tag in operation["tags"]}

    assert len(ids) == len(set(ids))
    assert tags == {tag["name"] for tag in DOCUMENT["tags"]}


def test_every_reference_leads_somewhere_and_every_schema_is_referred_to() -> None:
    found = set(references(DOCUMENT))

    for reference in found:
        resolve(reference, DOCUMENT)
    assert {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]} <= found


def test_every_placeholder_of_a_path_is_a_parameter() -> None:
    for path, _, operation in operations():
        placeholders = {segment[1:-1] for segment in path.split("/") if segment.startswith("{")}
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert declared == placeholders


@pytest.mark.parametrize(("media_type", "schema", "example"), [*schemas_with_examples()])
def test_every_example_fits_its_schema(media_type: str, schema: dict[str, Any], example: Any) -> None:
    assert list(problems(example, schema, DOCUMENT)) == []
    if "contentSchema" in schema:
        assert media_type == "application/x-ndjson"
        for line in example.splitlines():
            assert list(problems(orjson.loads(line), schema["contentSchema"], DOCUMENT)) == []


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def test_generators_of_clients_understand_it() -> None:
    """What openapi-generator 7 and openapi-python-client 0.29 refuse, or make code of that does not work."""
    for schema in objects(DOCUMENT):
        kinds = schema.get("type")
        if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
            assert "items" in schema
        if isinstance(schema.get("properties"), dict) and kinds == "object":
            assert not {"oneOf", "anyOf"} & schema.keys()
            for name, described in schema["properties"].items():
                assert name in schema["required"] or "const" not in described
        for link in schema.get("links", {}).values() if "description" in schema else ():
            assert isinstance(link.get("requestBody", ""), str)


def test_an_option_of_a_manifest_has_no_default_in_the_query() -> None:
    """Generated clients send defaults, and what the manifest says as well is refused."""
    for described in DOCUMENT["paths"]["/batches"]["post"]["parameters"]:
        assert "default" not in described["schema"]


def test_the_bounds_of_a_query_are_those_of_the_handlers() -> None:
    queries = {
        (operation["operationId"], one["name"]): one["schema"]
        for _, _, operation in operations()
        for one in operation.get("parameters", [])
        if one["in"] == "query"
    }

    for name in ("top_k", "max_detections", "min_score", "score_threshold", "iou_threshold"):
        highest = queries["score", name]["maximum"]
        for value in (highest, highest + 1):
            request = Request("GET", "", query={"url": "https://example.com/a.png", name: str(value)})
            with nullcontext() if value == highest else pytest.raises(InvalidRequest):
                read_score_request(request, RequestLimits())
    for operation in ("list_batches", "list_dead_letters", "export_dead_letters"):
        highest = queries[operation, "limit"]["maximum"]
        assert read_count({"limit": str(highest)}, "limit") == highest
        with pytest.raises(InvalidRequest, match=str(highest)):
            read_count({"limit": str(highest + 1)}, "limit")
    for name in ("model", "mini_batch_size", "max_retries", "callback_url"):
        schema = queries["submit_batch", name]
        values = [schema["maximum"], schema["maximum"] + 1] if "maximum" in schema else ["x" * 256, ""]
        ManifestMessage.of({"manifest": "a", name: values[0]})
        with pytest.raises(InvalidManifest):
            ManifestMessage.of({"manifest": "a", name: values[1]})


def test_the_example_of_an_infer_request_is_an_image() -> None:
    body = DOCUMENT["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]

    (tensor,) = read_infer_request(orjson.dumps(body["example"]), None, "digits").inputs
    assert decode(base64.b64decode(tensor.values[0]), ImageSettings()).picture.width == 1


def test_every_example_of_a_score_request_is_one_that_the_handler_reads() -> None:
    content = DOCUMENT["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]

    for example in content["examples"].values():
        body = orjson.dumps(example["value"])
        request = Request("POST", "", headers={"content-type": "application/json"}, body=body)
        assert read_score_request(request, RequestLimits()).inputs


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": "https://example.com/a.png", "data": ""},
        {"url": "https://example.com/a.png", "model": "digits"},
        {"url": "https://example.com/a.png", "parameters": {"top_k": 0}},
        {"url": "https://example.com/a.png", "parameters": {"min_score": 2}},
        {"url": "https://example.com/a.png", "parameters": {"threshold": 1}},
        {"id": 7, "data": "aGk="},
        {"inputs": []},
        {"inputs": [{"id": "a"}]},
        {"inputs": [{"url": "https://example.com/a.png"}], "id": "a"},
        {"inputs": [{"url": "https://example.com/a.png"}] * (RequestLimits().max_inputs + 1)},
    ],
    ids=str,
)
def test_what_the_handler_refuses_does_not_fit_the_schema_either(body: dict[str, Any]) -> None:
    request = Request("POST", "", headers={"content-type": "application/json"}, body=orjson.dumps(body))

    with pytest.raises(InferenceError):
        read_score_request(request, RequestLimits())
    assert list(problems(body, {"$ref": "#/components/schemas/ScoreRequest"}, DOCUMENT))


def test_what_the_batch_routes_read_and_write_has_the_properties_that_are_described() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    forms = [resolve(form["$ref"], DOCUMENT)["properties"] for form in schemas["Manifest"]["oneOf"]]
    assert set(forms[0]) | set(forms[1]) == set(ManifestMessage.__struct_fields__)
    assert set(forms[0]) ^ set(forms[1]) == {"images", "manifest"}
    assert set(schemas["Selection"]["properties"]) == set(Selection.__struct_fields__)
    assert set(schemas["Batch"]["properties"]) == {field.name for field in fields(BatchStatus)} | {"links"}
    assert set(schemas["DeadMessage"]["properties"]) == set(BuriedMessage.__struct_fields__)


def test_every_code_of_the_tree_is_listed_with_its_status() -> None:
    listed = {row["code"]: (row["status"], row["retryable"]) for row in DOCUMENT["x-error-codes"]}

    for error in InferenceError.leaves():
        assert listed.pop(error.code) == (status_of(error), error.retryable)
    assert listed == {"internal_error": (500, False), "misconfigured": (503, False)}


def test_every_error_reply_has_the_one_shape_and_codes_of_its_status() -> None:
    status_by_code = {row["code"]: row["status"] for row in DOCUMENT["x-error-codes"]}

    for path, method, operation in operations():
        for status, reply in operation["responses"].items():
            if int(status) < 400 or "$ref" in reply:
                continue
            shape, narrowed = reply["content"]["application/json"]["schema"]["allOf"]
            assert shape == {"$ref": "#/components/schemas/Error"}, (method, path)
            assert {status_by_code[code] for code in narrowed["properties"]["code"]["enum"]} == {int(status)}


def test_scoring_can_answer_with_each_status_that_the_contract_names() -> None:
    responses = DOCUMENT["paths"]["/models/{model}/score"]["post"]["responses"]

    statuses = {"200", "400", "401", "404", "413", "415", "422", "424", "429", "500", "503", "504"}
    assert {*responses} == statuses | {"414"}  # which the host answers


@pytest.mark.parametrize("page", ["/docs", "/ui"])
def test_a_page_can_answer_that_it_is_the_one_that_the_browser_has(page: str) -> None:
    assert "content" not in DOCUMENT["paths"][page]["get"]["responses"]["304"]


def test_an_export_can_answer_that_the_urls_are_gone() -> None:
    assert "manifest_not_found" in json.dumps(DOCUMENT["paths"]["/deadletters/export"]["get"]["responses"]["404"])


def test_a_key_is_asked_for_in_a_header_and_its_absence_is_a_401() -> None:
    scheme = DOCUMENT["components"]["securitySchemes"]["functionKey"]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "x-functions-key")
    for _, _, operation in operations():
        assert ("401" in operation["responses"]) == bool(operation["security"])


def test_values_that_make_a_url_or_headers_too_long_are_refused_by_the_host() -> None:
    for _, _, operation in operations():
        places = {parameter["in"] for parameter in operation.get("parameters", ())}
        assert ("414" in operation["responses"]) == bool(places & {"path", "query"})
        assert ("431" in operation["responses"]) == ("header" in places)


def test_links_lead_from_submission_to_status_results_and_replay() -> None:
    by_id = {operation["operationId"]: operation for _, _, operation in operations()}
    submitted = by_id["submit_batch"]["responses"]["202"]["links"]
    status = by_id["batch_status"]["responses"]["200"]["links"]

    assert submitted["status"]["operationId"] == "batch_status"
    assert status["results"]["operationId"] == "batch_results"
    assert status["replay"]["operationId"] == "replay_dead_letters"
    for links in (submitted, status):
        for link in links.values():
            target = by_id[link["operationId"]]
            names = {one["name"] for one in target.get("parameters", [])}
            assert set(link.get("parameters", {})) <= names


def test_every_route_is_in_the_reference() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/http-api.md").read_text()

    named = set(re.findall(r"`(?:[A-Z]+ )?(/[^`?]*)", text))

    assert set(DOCUMENT["paths"]) <= named
