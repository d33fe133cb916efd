"""Owns the callback of a batch: which url may be told, what it is told, how often, and when that is given up.

It refuses to hold anything up: a callback is an errand of its own on `batch-finish`, sent when the batch has ended and
the event is out, and a process makes one at a time, so that urls that never answer leave the queue's turns to others.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from enum import StrEnum
from typing import Any

import orjson
from msgspec import Struct, field
from opentelemetry.trace import SpanKind

from inference import telemetry
from inference.batch.messages import FinishMessage
from inference.batch.ports import Poster, Queues, Random
from inference.batch.record import BatchRecord, Records
from inference.batch.retry import RetryPolicy
from inference.errors import InvalidManifest, OriginFailed, UrlNotAllowed
from inference.redaction import OMITTED, redact_url
from inference.settings import BatchSettings, CallbackSettings

_log = logging.getLogger("inference.batch")

_CALLBACK_URL = re.compile(r'("callback_url"\s*:\s*)"((?:[^"\\]|\\.)*)"?', re.DOTALL)

#: How long a callback waits, at least, while another is under way; it is not charged for that.
_BUSY_SECONDS = 5.0

type Event = dict[str, Any]


class Outcome(StrEnum):
    """What came of one attempt; labels of the metric `inference.callbacks`."""

    OK = "ok"
    RETRIED = "retried"
    GIVEN_UP = "given_up"
    #: The url is not allowed (any more), or its name leads to an address that is not.
    REFUSED = "refused"


class Attempt(Struct, frozen=True):
    """One attempt at a callback."""

    outcome: Outcome
    #: Why it failed, for the log: `status_503`, or the code of an error.
    reason: str = ""
    wait_seconds: float = 0.0


class Callbacks(Struct, frozen=True):
    """Checks and delivers callbacks."""

    queues: Queues
    records: Records
    #: None allows no callback.
    poster: Poster | None
    callbacks: CallbackSettings
    settings: BatchSettings
    random: Random
    #: Held while a callback is under way in this process.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def check(self, url: str | None) -> None:
        """Raise InvalidManifest, without the url, when a batch may not be given this callback."""
        if url is None:
            return
        try:
            self._open().check(url)
        except UrlNotAllowed as exc:
            raise InvalidManifest(f"callback_url: {exc.message}") from None

    async def deliver(self, message: FinishMessage, event: Event) -> None:
        """Post an event, and send the errand again when that failed and is worth it.

        Raises BatchNotFound, ShuttingDown.
        """
        record = await self.records.read(message.batch_id)
        if record.callback_url is None:
            return
        if self.turn.locked():
            await self._send_again(message, _BUSY_SECONDS * (1 + self.random()))
            return
        async with self.turn:
            await self._deliver(record, record.callback_url, message, event)

    async def _deliver(self, record: BatchRecord, url: str, message: FinishMessage, event: Event) -> None:
        attributes = {"batch.id": record.batch_id, "batch.round": message.round}
        with telemetry.span(
            "batch.callback", parent=message.traceparent, kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            attempt = await self._attempt(record, url, event, message.attempts + 1)
            span.set_attribute("callback.outcome", attempt.outcome.value)
        if attempt.outcome is Outcome.RETRIED:
            charged = message.changed(attempts=message.attempts + 1)
            await self._send_again(charged, attempt.wait_seconds)
        telemetry.count_callback(attempt.outcome.value)
        _log_attempt(attempt, record, url, message)

    async def _send_again(self, message: FinishMessage, wait_seconds: float) -> None:
        again = message.changed(delay_seconds=wait_seconds, recoveries=0)
        await self.queues.finish.send(again.encode(), delay_seconds=wait_seconds)

    async def _attempt(self, record: BatchRecord, url: str, event: Event, attempts: int) -> Attempt:
        body = orjson.dumps(event)
        try:
            answer = await self._open().post(url, body, self._headers(record, event, body))
        except UrlNotAllowed as exc:
            return Attempt(Outcome.REFUSED, exc.code)
        except OriginFailed as exc:
            reason, asked = exc.code, None
        else:
            if answer.is_success:
                return Attempt(Outcome.OK)
            reason, asked = f"status_{answer.status}", answer.retry_after_seconds
        policy = RetryPolicy.of(self.settings, self.callbacks.max_attempts)
        return judge(attempts, reason, asked, policy, self.random())

    def _headers(self, record: BatchRecord, event: Event, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": str(event["event_id"]),
            "x-request-id": record.trace_id,
            "traceparent": telemetry.traceparent() or record.traceparent,
        }
        if self.callbacks.secret:
            headers["x-onnxfn-signature"] = sign(self.callbacks.secret, body)
        return headers

    def _open(self) -> Poster:
        if self.poster is None:
            raise UrlNotAllowed("No callback is allowed here.")
        return self.poster


def judge(attempts: int, reason: str, retry_after_seconds: float | None, policy: RetryPolicy, jitter: float) -> Attempt:
    """Judge an attempt that failed, the `attempts`-th.

    Whatever failed is tried again: a 404 of today is often tomorrow's deployment.
    """
    if attempts >= policy.max_attempts:
        return Attempt(Outcome.GIVEN_UP, reason)
    asked = min(retry_after_seconds or 0.0, policy.cap_seconds)
    return Attempt(Outcome.RETRIED, reason, max(asked, policy.backoff(attempts, jitter)))


def callback_errand(record: BatchRecord, event: Event) -> FinishMessage:
    """Return the message that asks for the callback of an event.

    The event travels in it: a replay may change the summary before the callback url is up again. An earlier release
    takes it for an errand like any other, which does no harm.
    """
    return FinishMessage(
        batch_id=record.batch_id,
        round=event["round"],
        traceparent=record.traceparent,
        is_errand=True,
        event=event,
    )


def sign(secret: str, body: bytes) -> str:
    """Return the value of `x-onnxfn-signature`: `sha256=` and the HMAC-SHA256 of the body in hex."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def redact_callback(text: str) -> str:
    """Return the text of a manifest, well-formed or not, with its callback url redacted."""
    return _CALLBACK_URL.sub(lambda match: f'{match[1]}"{_redact_string(match[2])}"', text)


def _redact_string(escaped: str) -> str:
    try:
        url = orjson.loads(f'"{escaped}"')
    except orjson.JSONDecodeError:
        return OMITTED
    return orjson.dumps(redact_url(url)).decode()[1:-1]


def _log_attempt(attempt: Attempt, record: BatchRecord, url: str, message: FinishMessage) -> None:
    extra = {
        "action": f"callback_{attempt.outcome.value}",
        "batch_id": record.batch_id,
        "round": message.round,
        "url": redact_url(url),
        "attempt": message.attempts + 1,
        "reason": attempt.reason,
    }
    level = {Outcome.OK: logging.INFO, Outcome.RETRIED: logging.INFO}.get(attempt.outcome, logging.WARNING)
    what = attempt.outcome.value.replace("_", " ")
    why = f": {attempt.reason}" if attempt.reason else ""
    _log.log(level, "callback of %s to %s: %s%s", record.batch_id, extra["url"], what, why, extra=extra)
