"""The batch routes: submit, list, status, results, cancel; they translate and nothing more."""

from __future__ import annotations

import codecs
import io
from collections.abc import AsyncIterator, Mapping

import orjson
from werkzeug.datastructures import Range
from werkzeug.http import parse_range_header, quote_etag

from inference.batch import layout
from inference.batch.layout import ContainerName
from inference.batch.manifest import MAX_LINE_BYTES
from inference.batch.service import BatchService
from inference.errors import InvalidRequest, PayloadTooLarge
from inference.http.compression import unpacked
from inference.http.messages import Request, Response, json_response
from inference.http.queries import read_count
from inference.settings import RequestLimits

#: Query parameters that say of a bare manifest (JSON Lines, CSV, urls) what a JSON one says itself.
_OPTIONS = ("batch_id", "model", "mini_batch_size", "error_threshold", "max_retries", "callback_url")
_MAX_LISTED = 100
#: Worker and host hold a reply whole, and more than once while it goes from one to the other; by default they have
#: 2 GiB between them (infra/bicep/api.bicep), and a batch may have results of several.
MAX_REPLY_BYTES = 256 * 1024 * 1024
#: What a manifest that is read as a stream may be packed in; that is seen from its first bytes.
_STREAMED = frozenset({"", "identity", "gzip", "x-gzip"})
_FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class BatchRoutes:
    """Handlers of `/batches`."""

    def __init__(self, batches: BatchService, limits: RequestLimits) -> None:
        self._batches = batches
        self._limits = limits

    async def submit(self, request: Request) -> Response:
        """Accept a manifest: 202 with where its status is."""
        if len(request.body) > self._limits.max_body_bytes:
            raise PayloadTooLarge(
                f"The manifest has more than {self._limits.max_body_bytes} bytes; upload it to the container"
                " manifests and submit a pointer to it."
            )
        content_type = request.media_type
        if request.headers.get("content-encoding", "").strip().lower() not in _STREAMED:
            request = await unpacked(request, self._limits)
        if request.says_nothing_of_its_type and _is_lines(request.body):
            content_type = "application/x-ndjson"
        elif request.is_json:
            # Manifests of other types are read as a stream, which sees gzip by itself.
            request, content_type = await unpacked(request, self._limits), "application/json"
        elif request.says_nothing_of_its_type:
            content_type = "application/octet-stream"
        options = {name: request.query[name] for name in _OPTIONS if request.query.get(name)}
        submission = await self._batches.submit(request.body, content_type, options)
        status_url = f"{request.base_url}/batches/{submission.batch_id}"
        return json_response({"batch_id": submission.batch_id, "status_url": status_url}, 202, {"location": status_url})

    async def list(self, request: Request) -> Response:
        """List the newest batches."""
        limit = min(read_count(request.query, "limit") or _MAX_LISTED, _MAX_LISTED)
        statuses = await self._batches.list_batches(limit)
        return json_response({"batches": [status.as_dict() for status in statuses]})

    async def status(self, request: Request) -> Response:
        """Tell how far a batch is."""
        return json_response((await self._batches.status(request.path["batch_id"])).as_dict())

    async def cancel(self, request: Request) -> Response:
        """End a batch; 202, as its shards have yet to notice."""
        return json_response((await self._batches.cancel(request.path["batch_id"])).as_dict(), 202)

    async def results(self, request: Request) -> Response:
        """Return the rows of a batch that has ended, as JSON Lines or CSV."""
        wanted = request.query.get("format") or "jsonl"
        if wanted not in _FORMATS:
            raise InvalidRequest(f"format: one of {', '.join(_FORMATS)}.")
        batch_id = request.path["batch_id"]
        headers = {"content-type": _FORMATS[wanted]}
        if wanted == "jsonl":
            headers["accept-ranges"] = "bytes"
            if (ranges := parse_range_header(request.headers.get("range"))) and ranges.units == "bytes":
                part = await self._part(batch_id, ranges, request.headers.get("if-range"), headers)
                if part is not None:
                    return part
        rows = self._batches.results(batch_id, is_table=wanted == "csv")
        blob = f"{layout.results(batch_id)} in the container {ContainerName.RESULTS}"
        instead = f"ask for ranges of it as jsonl, or read the blob {blob}"
        return Response(200, await collect(rows, instead), headers)

    async def _part(
        self, batch_id: str, ranges: Range, if_range: str | None, headers: Mapping[str, str]
    ) -> Response | None:
        """Return one range of the rows; None where there is none such, and the whole is the answer.

        A part may be shorter than was asked for. Source: RFC 9110, sections 13.1.5, 14.2 and 15.3.7.
        """
        found = await self._batches.find_results(batch_id)
        etag = quote_etag(found.etag)
        bounds = ranges.range_for_length(found.bytes)
        if bounds is None or if_range not in (None, etag):
            return None
        first, end = bounds[0], min(bounds[1], bounds[0] + MAX_REPLY_BYTES)
        part = await self._batches.read_results(found, first, end - first)
        content_range = f"bytes {first}-{end - 1}/{found.bytes}"
        return Response(206, part, {**headers, "content-range": content_range, "etag": etag})


def _is_lines(body: bytes) -> bool:
    """Tell JSON Lines, whose first line is an item, from a message of JSON."""
    first = body.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
    if len(first) > MAX_LINE_BYTES:  # no item; parsed, a body of one line takes gigabytes
        return False
    try:
        value = orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and "url" in value


async def collect(chunks: AsyncIterator[bytes], instead: str) -> bytes:
    """Join chunks: the Functions programming model without extensions takes a reply whole.

    Raises PayloadTooLarge, which says what to do `instead`.
    """
    with io.BytesIO() as reply:  # unlike a list of chunks it is not held twice when all are there
        async for chunk in chunks:
            if reply.tell() + len(chunk) > MAX_REPLY_BYTES:
                limit = MAX_REPLY_BYTES >> 20
                raise PayloadTooLarge(f"This would be a reply of more than {limit} MiB; {instead}.")
            reply.write(chunk)
        return reply.getvalue()
