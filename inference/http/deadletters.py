"""The dead-letter routes: list, export, replay, purge; they translate and nothing more."""

from __future__ import annotations

from inference.batch.service import BatchService
from inference.http.batches import collect
from inference.http.compression import unpacked
from inference.http.messages import Request, Response, json_response
from inference.http.queries import read_filter, read_selection
from inference.settings import RequestLimits


class DeadLetterRoutes:
    """Handlers of `/deadletters`."""

    def __init__(self, batches: BatchService, limits: RequestLimits) -> None:
        self._batches = batches
        self._limits = limits

    async def list(self, request: Request) -> Response:
        """List dead letters, a page at a time."""
        page = await self._batches.list_dead_letters(read_filter(request.query))
        return json_response({"deadletters": page.records, "next": page.next})

    async def export(self, request: Request) -> Response:
        """Return failed items as a manifest, with the urls as they were submitted."""
        instead = "choose fewer dead letters, by batch_id, code, since or limit"
        rows = await collect(self._batches.export(read_filter(request.query)), instead)
        return Response(200, rows, {"content-type": "application/x-ndjson"})

    async def replay(self, request: Request) -> Response:
        """Try the selected items again."""
        selection = read_selection(await unpacked(request, self._limits))
        outcome = await self._batches.replay(selection.filter, dry_run=selection.dry_run)
        return json_response(outcome.as_dict("replayed"), 202)

    async def purge(self, request: Request) -> Response:
        """Forget the selected dead letters."""
        selection = read_selection(await unpacked(request, self._limits))
        outcome = await self._batches.purge(selection.filter, dry_run=selection.dry_run)
        return json_response(outcome.as_dict("purged"))
