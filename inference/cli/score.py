"""`onnxfn score`: one image or text a call; it refuses to send anything before all files exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps as encode
from pathlib import Path
from typing import Annotated, Any

import typer

from inference.cli.options import DEFAULT_URL, JsonOption, KeyOption, ModelOption, UrlOption
from inference.redaction import redact_url

_SHOWN_TEXT_CHARACTERS = 60
#: The Functions host's own limit; what the service takes is less.
_MAX_REQUEST_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Input:
    """A file, a url or a text as it was given."""

    given: str
    is_text: bool = False

    @property
    def is_url(self) -> bool:
        return not self.is_text and self.given.lower().startswith(("http://", "https://"))

    @property
    def is_file(self) -> bool:
        return not self.is_text and not self.is_url

    @property
    def name(self) -> str:
        """What stands for it in a reply: a url without what may be a secret in it, all else as it was given."""
        return redact_url(self.given) if self.is_url else self.given

    def __str__(self) -> str:
        from inference.cli.output import printable

        line = printable(" ".join(self.given.split()) if self.is_text else self.name)
        is_long = self.is_text and len(line) > _SHOWN_TEXT_CHARACTERS
        return f"{line[: _SHOWN_TEXT_CHARACTERS - 1]}…" if is_long else line


def score(
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGE_OR_URL...", show_default=False)] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", show_default=False, help="A text, for a model of texts; repeatable."),
    ] = None,
    model: ModelOption = None,
    top_k: Annotated[int | None, typer.Option("--top-k", metavar="N", min=1, help="Best N labels.")] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", metavar="S", min=0, max=1, help="Nothing below this score.")
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option("--score-threshold", metavar="S", min=0, max=1, help="Detection: no box below this score."),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(
            "--iou-threshold", metavar="S", min=0, max=1, help="Detection: boxes that overlap by more are one."
        ),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option("--max-detections", metavar="N", min=1, help="Detection: boxes at most.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Score images, or texts, and print what the model sees in each.

    With --json: the service's reply for one of them, {"results": [...]} for several, in their order.
    """
    from inference.cli.client import Client, Route, model_segments
    from inference.cli.output import print_json

    inputs = [*map(_Input, images or ()), *(_Input(text, is_text=True) for text in texts or ())]
    _check_inputs(inputs)
    client = Client(url, key)
    path = str(Route(*model_segments(model), "score"))
    chosen = {
        "top_k": top_k,
        "min_score": min_score,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
    }
    parameters = {name: value for name, value in chosen.items() if value is not None}
    if len(inputs) == 1:
        reply = _score_one(client, path, inputs[0], parameters)
        print_json(reply) if json else _print_reply(inputs[0], reply)
    else:
        _score_several(client, path, inputs, parameters, json)


def _score_several(client: Any, path: str, inputs: list[_Input], parameters: Mapping[str, Any], json: bool) -> None:
    from inference.cli.client import Refused
    from inference.cli.failure import ExitCode, Failure
    from inference.cli.output import note, print_json, printable

    results: list[Any] = []
    refusals: list[Refused] = []
    try:
        for item in inputs:
            try:
                results.append(_score_one(client, path, item, parameters))
            except Refused as refused:
                refusals.append(refused)
                results.append({"id": item.name, "error": refused.sentence, "code": refused.code})
                if not json:
                    note(f"onnxfn: {item}: {printable(refused)}")
            else:
                if not json:
                    _print_reply(item, results[-1])
    finally:
        if json and results:  # also those of before the service went away
            print_json({"results": results})
    if refusals:
        what = "texts" if all(item.is_text for item in inputs) else "images"
        is_wrong = len(refusals) == len(inputs) and all(one.exit_code is ExitCode.WRONG_CALL for one in refusals)
        exit_code = ExitCode.WRONG_CALL if is_wrong else ExitCode.WORK_FAILED
        raise Failure(f"{len(refusals)} of {len(inputs)} {what} could not be scored.", exit_code)


def _check_inputs(inputs: list[_Input]) -> None:
    from inference.cli.failure import WrongCall

    if not inputs:
        raise typer.BadParameter("Nothing to score: give images, urls or --text.")
    missing = [item.given for item in inputs if item.is_file and not Path(item.given).is_file()]
    if missing:
        raise WrongCall(f"There is no file {', '.join(missing)}.")
    for item in inputs:
        # The host ends the connection under a longer body, which tells its sender nothing.
        if item.is_file and Path(item.given).stat().st_size > _MAX_REQUEST_BYTES:
            raise WrongCall(f"{item.given} has more than the {_MAX_REQUEST_BYTES} bytes that a request may have.")


def _score_one(client: Any, path: str, item: _Input, parameters: Mapping[str, Any]) -> Any:
    """Return the service's reply, or what the version's own `score.py` answered."""
    if item.is_file:
        data = Path(item.given).read_bytes()
        return client.call_any("POST", path, query=parameters, body=data, content_type="application/octet-stream")
    value = {"text" if item.is_text else "url": item.given, "parameters": parameters}
    return client.call_any("POST", path, body=encode(value).encode(), content_type="application/json")


def _print_reply(item: _Input, reply: Any) -> None:
    from inference.cli.output import format_prediction, print_json

    if not (isinstance(reply, dict) and {"predictions", "timings_ms", "task"} <= reply.keys()):
        print(item)
        print_json(reply)  # a score.py's answer
        return
    milliseconds = sum(reply["timings_ms"].values())
    print(f"{item}  {reply.get('model')}:{reply.get('version')}  {milliseconds:.1f} ms")
    for prediction in reply["predictions"]:
        print(f"  {format_prediction(prediction)}")
