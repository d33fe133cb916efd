"""Manifests that come over HTTP: checked while the caller waits, kept, sent on; over the in-memory storage."""

from __future__ import annotations

import codecs
import gzip
import tracemalloc
import zlib

import orjson
import pytest

from inference.batch import layout
from inference.batch.layout import QueueName
from inference.batch.selection import DeadLetterFilter
from inference.batch.survey import BatchState
from inference.errors import (
    BatchConflict,
    InvalidManifest,
    InvalidRequest,
    ManifestNotFound,
    ModelNotFound,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from inference.http.batches import BatchRoutes
from inference.http.deadletters import DeadLetterRoutes
from inference.http.messages import Request
from inference.settings import RequestLimits
from tests.flows.invariants import check_invariants
from tests.flows.simulation import ACCOUNT_URL, Simulation, images, manifest
from tests.turns import counting_turns

URLS = images(5)
LINES = "\n".join(URLS).encode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (orjson.dumps({"images": URLS}), "application/json; charset=utf-8"),
        (LINES, "text/plain"),
        (gzip.compress(LINES), "application/gzip"),
        (b"\n".join(orjson.dumps({"url": url}) for url in URLS), "application/x-ndjson"),
        (b"url\r\n" + "\r\n".join(URLS).encode(), "text/csv"),
    ],
)
async def test_a_manifest_of_each_form_becomes_a_batch(body: bytes, content_type: str) -> None:
    sim = Simulation()

    accepted = await sim.service.submit(body, content_type)
    status = await sim.service.status(accepted.batch_id)
    await sim.drain()

    assert (status.state, status.total, status.pending) == (BatchState.QUEUED, 5, 5)
    check_invariants(sim, accepted.batch_id, URLS)
    assert not [name for name in sim.storage.blobs("manifests").contents if name.startswith(layout.TICKETS)]


JSON = orjson.dumps({"images": URLS})
TABLE = b"url\n" + LINES


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (JSON, {}),
        (JSON, {"content-type": "application/x-www-form-urlencoded"}),
        (gzip.compress(JSON), {"content-type": "application/json", "content-encoding": "gzip"}),
        (LINES, {}),
        (TABLE, {}),
        (TABLE, {"content-type": "application/x-www-form-urlencoded"}),
        (LINES, {"content-type": "application/x-www-form-urlencoded"}),
        (gzip.compress(LINES), {"content-type": "application/x-www-form-urlencoded"}),
        (gzip.compress(LINES), {"content-encoding": "gzip"}),
        (gzip.compress(LINES), {"content-type": "text/plain", "content-encoding": "gzip"}),
        (zlib.compress(LINES), {"content-type": "text/plain", "content-encoding": "deflate"}),
    ],
)
async def test_a_body_is_taken_as_clients_send_it(body: bytes, headers: dict[str, str]) -> None:
    sim = Simulation()

    response = await BatchRoutes(sim.service, RequestLimits()).submit(Request("POST", "", headers=headers, body=body))
    await sim.drain()

    assert response.status == 202
    check_invariants(sim, orjson.loads(response.body)["batch_id"], URLS)


async def test_a_selection_is_taken_as_clients_send_it_within_the_limit_of_bodies() -> None:
    routes = DeadLetterRoutes(Simulation().service, RequestLimits(max_body_bytes=100))

    def request(body: bytes) -> Request:
        return Request("POST", "", headers={"content-type": "application/x-www-form-urlencoded"}, body=body)

    assert (await routes.replay(request(b'{"dry_run": true}'))).status == 202
    with pytest.raises(PayloadTooLarge):
        await routes.replay(request(b'{"batch_id": "%s"}' % (b"a" * 100)))
    with pytest.raises(InvalidRequest):
        await routes.purge(request(b"batch_id=a"))


async def test_a_document_of_millions_of_values_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(PayloadTooLarge, match="JSON Lines"):
        await Simulation().service.submit(b'{"images": [' + b"1," * 2_000_000 + b"1]}")
    with pytest.raises(PayloadTooLarge, match="JSON Lines"):
        await Simulation().service.submit(b'{"images": [' + (b"[" * 1000 + b"]" * 1000 + b",") * 2000 + b"1]}")


async def test_a_document_of_millions_of_values_of_no_type_is_not_parsed_to_see_what_it_is() -> None:
    routes = BatchRoutes(Simulation().service, RequestLimits())
    body = b'{"images": [' + b"{}," * 2_000_000 + b"{}]}"

    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge, match="JSON Lines"):
            await routes.submit(Request("POST", "", body=body))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * len(body)


async def test_others_are_answered_while_a_large_document_is_taken() -> None:
    sim = Simulation()
    rows = [{"id": f"image {number}", "url": f"https://h.example.com/{number}.jpg"} for number in range(30_000)]
    with counting_turns() as turns:
        accepted = await sim.service.submit(orjson.dumps({"images": rows}))

    assert turns.count > len(rows) / 500
    ticket = orjson.loads((await sim.storage.blobs("manifests").read(layout.ticket(accepted.batch_id))).data)
    assert ticket["total"] == len(rows)


@pytest.mark.parametrize("name", ["ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines"])
async def test_json_lines_are_taken_under_each_of_their_names(name: str) -> None:
    sim = Simulation()

    accepted = await sim.service.submit(orjson.dumps({"url": URLS[0]}), f"application/{name}")
    await sim.drain()

    check_invariants(sim, accepted.batch_id, URLS[:1])


async def test_options_of_a_bare_manifest_come_from_the_query() -> None:
    sim = Simulation()

    await sim.service.submit(LINES, "text/plain", {"batch_id": "bare", "mini_batch_size": "1", "max_retries": "0"})
    await sim.step()

    assert len(sim.queue(QueueName.SHARDS).bodies) == 5


async def test_a_json_manifest_too_long_for_a_message_is_kept_in_storage() -> None:
    urls = images(3000)
    sim = Simulation()

    await sim.service.submit(orjson.dumps(manifest("long", urls, mini_batch_size=1000)))
    await sim.drain()

    check_invariants(sim, "long", urls)
    assert [name for name in sim.storage.blobs("manifests").contents if name.startswith("uploads/long/")]


@pytest.mark.parametrize(
    ("body", "content_type", "options", "error"),
    [
        (b"", "application/json", {}, InvalidManifest),
        (b"[]", "application/json", {}, InvalidManifest),
        (b'{"images": []}', "application/json", {}, InvalidManifest),
        (b'{"images": [{"url": ""}]}', "application/json", {}, InvalidManifest),
        (b'{"images": ["https://a.example/1"], "model": "x"}', "application/json", {"model": "x"}, InvalidManifest),
        (b'{"images": ["https://a.example/1"], "model": "x"}', "application/json", {}, ModelNotFound),
        (b'{"manifest": "not/there"}', "application/json", {}, ManifestNotFound),
        (b'{"manifest": "../records"}', "application/json", {}, ManifestNotFound),
        (b'{"manifest": "_batch/x.json"}', "application/json", {}, InvalidManifest),
        (b"", "text/plain", {}, InvalidManifest),
        (b"\n\n", "text/plain", {}, InvalidManifest),
        (LINES, "text/plain", {"max_retries": "many"}, InvalidManifest),
        (LINES, "text/plain", {"batch_id": "Not Valid"}, InvalidManifest),
        (LINES, "image/jpeg", {}, UnsupportedMediaType),
    ],
)
async def test_what_can_never_be_a_batch_is_refused_and_leaves_nothing(
    body: bytes, content_type: str, options: dict[str, str], error: type[Exception]
) -> None:
    sim = Simulation()

    with pytest.raises(error):
        await sim.service.submit(body, content_type, options)

    assert not sim.storage.blobs("manifests").contents
    assert not await sim.step()


async def test_the_line_of_a_fault_is_named() -> None:
    with pytest.raises(InvalidManifest, match=r"^line 3: no url\.$"):
        await Simulation().service.submit(b"https://a.example/1\n\nhello\n", "text/plain")


async def test_submitting_the_same_again_is_the_same_batch_before_and_after_it_ran() -> None:
    sim = Simulation()
    body = orjson.dumps(manifest("same", URLS))

    for _ in range(2):
        assert (await sim.service.submit(body)).batch_id == "same"
    await sim.drain()
    assert (await sim.service.submit(body)).batch_id == "same"

    assert not await sim.step()
    check_invariants(sim, "same", URLS)
    assert sim.scorer.attempts.total() == 5


@pytest.mark.parametrize("is_expanded", [False, True])
async def test_other_content_under_the_same_id_is_a_conflict(is_expanded: bool) -> None:
    sim = Simulation()
    await sim.service.submit(orjson.dumps(manifest("same", URLS)))
    if is_expanded:
        await sim.step()

    with pytest.raises(BatchConflict):
        await sim.service.submit(orjson.dumps(manifest("same", URLS[1:])))
    with pytest.raises(BatchConflict):
        await sim.service.submit(orjson.dumps(manifest("same", URLS, parameters={"top_k": 1})))

    await sim.drain()
    check_invariants(sim, "same", URLS)


async def test_the_status_of_a_batch_whose_pointer_broke_says_why() -> None:
    sim = Simulation()
    await sim.storage.blobs("manifests").write("mine", b"https://a.example/1\nbroken\n")
    await sim.service.submit(orjson.dumps({"batch_id": "b", "manifest": "mine"}))

    await sim.drain()

    status = (await sim.service.status("b")).as_dict()
    assert status["state"] == "failed"
    assert status["error"] == {"code": "invalid_manifest", "message": "line 2: no url."}
    await sim.storage.blobs("manifests").write("mine", b"https://a.example/1\n")
    await sim.service.submit(orjson.dumps({"batch_id": "b", "manifest": "mine"}))
    await sim.drain()
    check_invariants(sim, "b", ["https://a.example/1"])
    assert not sim.buried()


async def test_a_coding_that_no_one_reads_is_refused() -> None:
    request = Request("POST", "http://localhost:7071/api", headers={"content-encoding": "br"}, body=LINES)
    with pytest.raises(UnsupportedMediaType):
        await BatchRoutes(Simulation().service, RequestLimits()).submit(request)


async def test_a_first_image_that_reads_like_a_header_is_an_item() -> None:
    urls = ["url", *(f"https://images.example/{'x' * 80}{index}.jpg" for index in range(700))]
    sim = Simulation()
    body = orjson.dumps(manifest("hb", urls))
    await sim.service.submit(body)
    await sim.drain()

    assert sim.summary("hb")["total"] == 701
    assert [row["url"] for row in sim.rows("hb")] == urls
    assert (await sim.service.submit(body)).batch_id == "hb"


async def test_another_pointer_under_the_id_of_a_batch_is_a_conflict() -> None:
    sim = Simulation()
    blobs = sim.storage.blobs("manifests")
    await blobs.write("one.txt", LINES)
    await blobs.write("two.txt", b"https://images.example/other.jpg")
    pointer = orjson.dumps({"batch_id": "ptr", "manifest": "one.txt"})
    await sim.service.submit(pointer)
    await sim.drain()

    assert (await sim.service.submit(pointer)).batch_id == "ptr"
    with pytest.raises(BatchConflict):
        await sim.service.submit(orjson.dumps({"batch_id": "ptr", "manifest": "two.txt"}))
    with pytest.raises(BatchConflict):
        await sim.service.submit(orjson.dumps({"batch_id": "ptr", "manifest": "one.txt", "max_retries": 0}))


async def test_a_repaired_manifest_waits_though_its_predecessor_was_refused() -> None:
    sim = Simulation()
    blobs = sim.storage.blobs("manifests")
    pointer = orjson.dumps({"batch_id": "daily", "manifest": "daily.csv"})
    await blobs.write("daily.csv", b"id,url,third\n")
    await sim.service.submit(pointer)
    await sim.drain()
    assert (await sim.service.status("daily")).state is BatchState.FAILED

    await blobs.write("daily.csv", b"url\n" + LINES)
    sim.storage.clock.advance(1)
    await sim.service.submit(pointer)
    assert (await sim.service.status("daily")).state is BatchState.QUEUED
    await sim.drain()
    assert sim.summary("daily")["total"] == 5


async def test_a_cancel_of_a_refused_manifest_is_not_of_the_next_one() -> None:
    sim = Simulation()
    await sim.storage.blobs("manifests").write("broken.csv", b"id,url,third\n")
    await sim.service.submit(orjson.dumps({"batch_id": "cx", "manifest": "broken.csv"}))
    await sim.service.cancel("cx")
    await sim.drain()

    await sim.service.submit(orjson.dumps(manifest("cx", URLS)))
    await sim.drain()
    assert (await sim.service.status("cx")).state is BatchState.SUCCEEDED


async def test_a_refused_manifest_that_is_tried_again_waits() -> None:
    sim = Simulation()
    await sim.run({"batch_id": "later", "manifest": "later.txt"})
    await sim.service.replay(DeadLetterFilter(batch_id="later"))

    assert (await sim.service.status("later")).state is BatchState.QUEUED


@pytest.mark.parametrize("count", [1, 700])
async def test_an_image_whose_line_could_not_be_read_again_is_refused_at_once(count: int) -> None:
    sim = Simulation()
    long = f"https://images.example/{'x' * 20_000}"
    with pytest.raises(InvalidManifest, match=f"^image {count}: longer than 16384 bytes"):
        await sim.service.submit(orjson.dumps(manifest("long", [*images(count), long])))


async def test_a_prefix_of_the_services_own_names_is_refused() -> None:
    sim = Simulation()
    with pytest.raises(InvalidManifest, match="does not begin with _"):
        await sim.service.submit(orjson.dumps({"manifest": f"{ACCOUNT_URL}/manifests/_batch/"}))


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("headers", [{}, {"content-type": "application/x-www-form-urlencoded"}])
async def test_json_lines_are_known_by_their_beginning(headers: dict[str, str], mark: bytes) -> None:
    sim = Simulation()
    body = mark + b"\n".join(orjson.dumps({"url": url}) for url in URLS)
    reply = await BatchRoutes(sim.service, RequestLimits()).submit(
        Request("POST", "http://localhost:7071/api", headers=headers, body=body)
    )
    await sim.drain()

    assert reply.status == 202
    check_invariants(sim, orjson.loads(reply.body)["batch_id"], URLS)


async def test_a_batch_was_created_when_it_was_submitted_not_when_it_was_read() -> None:
    sim = Simulation()
    accepted = await sim.service.submit(JSON)
    created = (await sim.service.status(accepted.batch_id)).created_at
    sim.storage.clock.advance(60)
    await sim.drain()

    assert (await sim.service.status(accepted.batch_id)).created_at == created
