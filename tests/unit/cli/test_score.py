from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.service import Program, Reply, Service, refusal

REPLY = {
    "id": "1",
    "model": "digits",
    "version": "1",
    "task": "classification",
    "predictions": [{"label": "7", "score": 0.98}],
    "timings_ms": {"fetch": 1.0, "run": 2.5},
}


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "a seven.png"
    path.write_bytes(bytes(range(256)))
    return path


def test_a_file_is_sent_as_its_bytes(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", REPLY)

    done = onnxfn("score", str(scan), "--top-k", "3", "--json")

    assert (done.code, done.json, done.err) == (0, REPLY, "")
    assert service.calls[0].body == scan.read_bytes()
    assert service.calls[0].query == {"top_k": "3"}
    assert service.calls[0].headers["content-type"] == "application/octet-stream"


def test_a_url_is_sent_for_the_service_to_fetch(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/models/digits/versions/2/score", REPLY)

    done = onnxfn("score", "https://host/7.png", "--model", "digits:2", "--top-k", "1", "--min-score", "0.5")

    assert done.code == 0
    assert service.calls[0].json == {"url": "https://host/7.png", "parameters": {"top_k": 1, "min_score": 0.5}}


def test_a_person_reads_the_label_and_its_score(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", REPLY)

    done = onnxfn("score", str(scan))

    assert done.out.splitlines() == [f"{scan}  digits:1  3.5 ms", "  7  0.9800"]


def test_a_person_reads_the_box_of_a_detection(onnxfn: Program, service: Service, scan: Path) -> None:
    box = {"label": "car", "score": 0.9, "xmin": 1.4, "ymin": 2.0, "xmax": 30.6, "ymax": 40.0}
    service.answer("POST /api/score", {**REPLY, "task": "detection", "predictions": [box]})

    assert "  car  0.9000  (1, 2) to (31, 40)" in onnxfn("score", str(scan)).out


def test_several_images_are_one_document_in_their_order(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", REPLY, refusal(422, "image_invalid", "No image."), {**REPLY, "id": "3"})

    done = onnxfn("score", str(scan), str(scan), str(scan), "--json")

    assert done.code == 1
    assert done.json == {
        "results": [REPLY, {"id": str(scan), "error": "No image.", "code": "image_invalid"}, {**REPLY, "id": "3"}]
    }
    assert done.err == "onnxfn: 1 of 3 images could not be scored.\n"


def test_what_may_be_a_secret_in_a_url_is_not_printed(onnxfn: Program, service: Service) -> None:
    url = "https://host/7.png?sig=SECRET"
    service.answer("POST /api/score", REPLY, refusal(424, "image_not_found"), REPLY, refusal(424, "image_not_found"))

    told = onnxfn("score", url, url)
    document = onnxfn("score", url, url, "--json")

    assert service.calls[0].json["url"] == url
    assert "https://host/7.png?…  digits:1" in told.out
    assert document.json["results"][1]["id"] == "https://host/7.png?…"
    assert "SECRET" not in told.out + told.err + document.out + document.err


def test_an_image_that_fails_among_several_is_named(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", REPLY, refusal(422, "image_invalid", "No image."))

    done = onnxfn("score", str(scan), str(scan))

    assert done.code == 1
    assert f"onnxfn: {scan}: No image. (image_invalid)" in done.err


@pytest.mark.parametrize(("reply", "code"), [(refusal(422, "image_invalid"), 1), (refusal(404, "model_not_found"), 2)])
def test_an_image_that_fails_alone_ends_the_program_with_its_reason(
    onnxfn: Program, service: Service, scan: Path, reply: Reply, code: int
) -> None:
    service.answer("POST /api/score", reply)

    done = onnxfn("score", str(scan), "--json")

    assert (done.code, done.out) == (code, "")
    assert done.err == f"onnxfn: It cannot be. ({reply.value['code']})\n"


def test_nothing_is_sent_when_a_file_is_missing(onnxfn: Program, service: Service, scan: Path) -> None:
    done = onnxfn("score", str(scan), "no-such-file.png")

    assert (done.code, done.err) == (2, "onnxfn: There is no file no-such-file.png.\n")
    assert not service.calls


def test_texts_are_sent_as_texts_with_the_parameters(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/models/claims/score", REPLY, REPLY)

    done = onnxfn("score", "--text", "a tree fell", "--text", "http://no-url", "--model", "claims", "--top-k", "1")

    assert done.code == 0
    assert [call.json for call in service.calls] == [
        {"text": "a tree fell", "parameters": {"top_k": 1}},
        {"text": "http://no-url", "parameters": {"top_k": 1}},
    ]
    assert done.out.splitlines()[0] == "a tree fell  digits:1  3.5 ms"


def test_a_long_text_is_shown_by_its_beginning_on_one_line(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/score", REPLY)

    done = onnxfn("score", "--text", "two\nlines " + "x" * 100)

    assert done.out.splitlines()[0] == f"two lines {'x' * 49}…  digits:1  3.5 ms"


def test_texts_that_fail_are_counted_as_texts(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/score", REPLY, refusal(422, "text_invalid", "No text."))

    done = onnxfn("score", "--text", "a", "--text", "b", "--json")

    assert done.json["results"][1] == {"id": "b", "error": "No text.", "code": "text_invalid"}
    assert done.err == "onnxfn: 1 of 2 texts could not be scored.\n"


def test_the_parameters_of_a_detection_are_sent(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", REPLY)

    done = onnxfn("score", str(scan), "--score-threshold", "0.2", "--iou-threshold", "0.5", "--max-detections", "7")

    assert done.code == 0
    assert service.calls[0].query == {"score_threshold": "0.2", "iou_threshold": "0.5", "max_detections": "7"}


def test_nothing_to_score_is_a_wrong_call(onnxfn: Program, service: Service) -> None:
    done = onnxfn("score", "--model", "claims")

    assert done.code == 2
    assert "Nothing to score: give images, urls or --text." in done.err
    assert not service.calls


@pytest.mark.parametrize("answer", [[0.25, 0.75], 3, None, {"label": "7"}, {"predictions": [1], "timings_ms": 3}])
def test_what_a_score_py_answers_is_printed_as_it_is(
    onnxfn: Program, service: Service, scan: Path, answer: object
) -> None:
    service.answer("POST /api/models/iris/score", Reply(answer))

    shown = onnxfn("score", str(scan), "--model", "iris")
    document = onnxfn("score", str(scan), "--model", "iris", "--json")

    assert (shown.code, shown.out) == (0, f"{scan}\n{json.dumps(answer)}\n")
    assert (document.code, document.json) == (0, answer)


def test_several_answers_of_a_score_py_are_none_of_them_failures(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", [1], {"error": "0.1 mm"})

    done = onnxfn("score", str(scan), str(scan), "--json")

    assert (done.code, done.json) == (0, {"results": [[1], {"error": "0.1 mm"}]})


def test_a_call_that_is_wrong_for_every_image_is_2(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", Reply(b"", 401))

    assert onnxfn("score", str(scan), str(scan)).code == 2


def test_what_was_scored_before_the_service_went_away_is_printed(onnxfn: Program, service: Service, scan: Path) -> None:
    service.answer("POST /api/score", REPLY, Reply(b"<html>"))

    done = onnxfn("score", str(scan), str(scan), "--json")

    assert (done.code, done.json) == (1, {"results": [REPLY]})
    assert "does not answer like this service" in done.err


def test_a_file_that_no_request_can_hold_is_not_sent(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    with (tmp_path / "film.mp4").open("wb") as file:
        file.truncate(100 * 1024 * 1024 + 1)

    done = onnxfn("score", str(tmp_path / "film.mp4"))

    assert (done.code, service.calls) == (2, [])
    assert "film.mp4 has more than the 104857600 bytes that a request may have." in done.err


def test_names_of_files_steer_no_terminal_nor_do_refusals(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    scan = tmp_path / "a\x1b[31m.png"
    scan.write_bytes(b"scan")
    service.answer("POST /api/score", REPLY, refusal(422, "image_invalid", "It is \x1b]0;no\nimage."))

    done = onnxfn("score", str(scan), str(scan))

    assert (done.code, "\x1b" in done.out + done.err) == (1, False)
    assert "It is \N{REPLACEMENT CHARACTER}]0;no\N{REPLACEMENT CHARACTER}image. (image_invalid)" in done.err
