"""Owns the names of queues, containers and blobs; it refuses to read or write any of them.

manifests/   {anything a user uploads} · uploads/…          names that begin with "_" are the service's own
  _submitted/{id}.json              accepted over HTTP or sent by onnxfn, not yet expanded
  _batch/{id}.json                  the record: its existence is the batch's
  _data/{id}/manifest-{key}.jsonl   the canonical manifest        shards-{key}.bin   its shard offsets
  _data/{id}/expanded               every message of round 0 was sent
  _data/{id}/replays/{round}.jsonl  which rows a replay re-opens  {round}.applied    they are re-opened
  _data/{id}/stops/{round}.json     rows up to this round end unscored: cancelled, or past the error threshold
  _data/{id}/suspects/{range}.json  deliveries that began on a range under suspicion and have not ended
results/     {id}/parts/{shard}.jsonl · {id}/results.jsonl · {id}/summary.json
deadletters/ {id}/{shard}.jsonl · _manifests/{key}.json
"""

from __future__ import annotations

import re
from enum import StrEnum

from inference.errors import InvalidManifest

_BATCH_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})")

RECORDS = "_batch/"
TICKETS = "_submitted/"
UPLOADS = "uploads/"
BURIED_MESSAGES = "_manifests/"


class QueueName(StrEnum):
    """The queues; each but the last has a poison partner that the host fills."""

    MANIFESTS = "batch-manifests"
    SHARDS = "batch-shards"
    FINISH = "batch-finish"
    EVENTS = "batch-events"


class ContainerName(StrEnum):
    """The blob containers of the batch path."""

    MANIFESTS = "manifests"
    RESULTS = "results"
    DEADLETTERS = "deadletters"


#: The queues that functions are triggered by.
WORK_QUEUES = (QueueName.MANIFESTS, QueueName.SHARDS, QueueName.FINISH)


def poison(queue: str) -> str:
    """Return the queue to which the Functions host moves the messages that it gives up on."""
    return f"{queue}-poison"


def check_batch_id(batch_id: str) -> str:
    """Return `batch_id`. Raises InvalidManifest when it is not of the contract's form."""
    if not is_batch_id(batch_id):
        raise InvalidManifest("batch_id: 1 to 63 lower-case letters, digits and dashes, the first not a dash.")
    return batch_id


def is_batch_id(text: str) -> bool:
    """Tell whether `text` can name a batch (and so is safe in blob names)."""
    return _BATCH_ID.fullmatch(text) is not None


def record(batch_id: str) -> str:
    """Blob in `manifests`."""
    return f"{RECORDS}{batch_id}.json"


def ticket(batch_id: str) -> str:
    """Blob in `manifests`."""
    return f"{TICKETS}{batch_id}.json"


def batch_id_of(name: str) -> str:
    """Return the batch whose record, ticket, part or dead letter has this name; of a message that told none, no id."""
    if name.startswith(BURIED_MESSAGES):
        return name.removeprefix(BURIED_MESSAGES).partition(".")[0]
    if name.startswith((RECORDS, TICKETS)):
        return name.rpartition("/")[2].removesuffix(".json")
    return name.partition("/")[0]


def manifest(batch_id: str, key: str) -> str:
    """Blob in `manifests`; the key stands for the source, so two sources never share a name."""
    return f"_data/{batch_id}/manifest-{key}.jsonl"


def shard_table(batch_id: str, key: str) -> str:
    """Blob in `manifests`."""
    return f"_data/{batch_id}/shards-{key}.bin"


def expanded(batch_id: str) -> str:
    """Blob in `manifests`."""
    return f"_data/{batch_id}/expanded"


def replays(batch_id: str) -> str:
    """Prefix in `manifests`."""
    return f"_data/{batch_id}/replays/"


def journal(batch_id: str, round_: int) -> str:
    """Blob in `manifests`."""
    return f"{replays(batch_id)}{round_:05d}.jsonl"


def applied(batch_id: str, round_: int) -> str:
    """Blob in `manifests`."""
    return f"{replays(batch_id)}{round_:05d}.applied"


def stops(batch_id: str) -> str:
    """Prefix in `manifests`."""
    return f"_data/{batch_id}/stops/"


def stop(batch_id: str, round_: int) -> str:
    """Blob in `manifests`."""
    return f"{stops(batch_id)}{round_:05d}.json"


def suspect(batch_id: str, shard: int, first: int, count: int) -> str:
    """Blob in `manifests`."""
    return f"_data/{batch_id}/suspects/{shard:05d}-{first}-{count}.json"


def parts(batch_id: str) -> str:
    """Prefix in `results`."""
    return f"{batch_id}/parts/"


def part(batch_id: str, shard: int) -> str:
    """Blob in `results`."""
    return f"{parts(batch_id)}{shard:05d}.jsonl"


def dead_letters(batch_id: str) -> str:
    """Prefix in `deadletters`."""
    return f"{batch_id}/"


def dead_letter(batch_id: str, shard: int) -> str:
    """Blob in `deadletters`."""
    return f"{batch_id}/{shard:05d}.jsonl"


def number_of(name: str) -> int:
    """Return the shard or round that a part, dead letter, journal or stop is named after."""
    return int(name.rpartition("/")[2].partition(".")[0])


def results(batch_id: str) -> str:
    """Blob in `results`."""
    return f"{batch_id}/results.jsonl"


def summary(batch_id: str) -> str:
    """Blob in `results`; its existence means: complete."""
    return f"{batch_id}/summary.json"


def buried_message(key: str) -> str:
    """Blob in `deadletters`."""
    return f"{BURIED_MESSAGES}{key}.json"
