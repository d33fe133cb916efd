"""`onnxfn score`: one image a call, each from a file or a url; it refuses to send anything before all files exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inference.cli.options import DEFAULT_URL, JsonOption, KeyOption, ModelOption, UrlOption


def score(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE_OR_URL...", show_default=False)],
    model: ModelOption = None,
    top_k: Annotated[int | None, typer.Option("--top-k", metavar="N", min=1, help="Best N labels.")] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", metavar="S", min=0, max=1, help="Nothing below this score.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Score images and print what the model sees in each.

    With --json: the service's reply for one image, {"results": [...]} for several, in their order.
    """
    from inference.cli.client import Client, Refused, Route, model_segments
    from inference.cli.failure import Failure
    from inference.cli.output import note, print_json

    _check_files(images)
    client = Client(url, key)
    path = str(Route(*model_segments(model), "score"))
    parameters = {name: value for name, value in (("top_k", top_k), ("min_score", min_score)) if value is not None}
    if len(images) == 1:
        reply = _score_one(client, path, images[0], parameters)
        print_json(reply) if json else _print_reply(images[0], reply)
        return
    results: list[dict[str, Any]] = []
    for image in images:
        try:
            results.append(_score_one(client, path, image, parameters))
        except Refused as refused:
            results.append({"id": image, "error": refused.sentence, "code": refused.code})
            if not json:
                note(f"onnxfn: {image}: {refused}")
        else:
            if not json:
                _print_reply(image, results[-1])
    if json:
        print_json({"results": results})
    failed = sum("error" in result for result in results)
    if failed:
        raise Failure(f"{failed} of {len(images)} images could not be scored.")


def _is_url(image: str) -> bool:
    return image.lower().startswith(("http://", "https://"))


def _check_files(images: list[str]) -> None:
    from inference.cli.failure import WrongCall

    missing = [image for image in images if not _is_url(image) and not Path(image).is_file()]
    if missing:
        raise WrongCall(f"There is no file {', '.join(missing)}.")


def _score_one(client: Any, path: str, image: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if _is_url(image):
        reply: dict[str, Any] = client.send_json("POST", path, {"url": image, "parameters": parameters})
    else:
        data = Path(image).read_bytes()
        reply = client.call("POST", path, query=parameters, body=data, content_type="application/octet-stream")
    return reply


def _print_reply(image: str, reply: dict[str, Any]) -> None:
    from inference.cli.output import format_prediction

    milliseconds = sum(reply.get("timings_ms", {}).values())
    print(f"{image}  {reply.get('model')}:{reply.get('version')}  {milliseconds:.1f} ms")
    for prediction in reply.get("predictions", []):
        print(f"  {format_prediction(prediction)}")
