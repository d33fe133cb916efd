"""A route: which session answers the requests for one name, and why not the one that should.

It refuses to load anything, and to keep state about callers: a canary's choice is a function of the request's id.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct, field

from inference.errors import InferenceError
from inference.models.session_cache import Slot

if TYPE_CHECKING:
    from inference.models.session import ModelSession


class Route(Struct):
    """What serves a name, or one of its versions, now."""

    stable: Slot | None = None
    canary: Slot | None = None
    #: 0 … 1 of the requests, for the canary.
    share: float = 0.0
    #: What should serve instead and failed, the best first.
    failed: list[Slot] = field(default_factory=list)
    #: Why what should serve does not.
    problem: str | None = None
    #: Why there is no canary though one is wanted.
    canary_problem: str | None = None

    @property
    def whole_problem(self) -> str | None:
        """What an operator should hear: why what should serve does not, or else why the canary takes nothing."""
        failed = self.canary.error if self.canary is not None and self.canary.session is None else None
        return self.problem or self.canary_problem or (failed.message if failed is not None else None)

    @property
    def session(self) -> ModelSession | None:
        """The session that serves, but for the canary's share."""
        return self.stable.session if self.stable is not None else None

    def choose(self, sticky_key: str | None, now: float) -> ModelSession | None:
        """Return the session for one request and note the time; None when nothing is loaded."""
        slot = self.stable
        if self.canary is not None and sticky_key is not None and self._is_for_canary(self.canary, sticky_key):
            slot = self.canary
        if slot is None:
            return None
        slot.used_at = now
        return slot.session

    def slots(self) -> list[Slot]:
        """Return every slot that the route needs kept."""
        return [slot for slot in (self.stable, self.canary, *self.failed) if slot is not None]

    def remembered_failure(self, now: float) -> InferenceError | None:
        """Return why nothing serves while it is too early to try again: a new exception on each call."""
        slot = self.failed[0] if self.failed and self.session is None else None
        if slot is None or slot.error is None or now >= slot.retry_at:
            return None
        return renewed(slot.error, retry_after_seconds=slot.retry_at - now)

    def _is_for_canary(self, canary: Slot, sticky_key: str) -> bool:
        return canary.session is not None and position(f"{canary.release}:{sticky_key}") < self.share


def position(text: str) -> float:
    """Return where a text falls, evenly, in 0 … 1 (1 excluded): equal in every process and for ever."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def renewed(error: InferenceError, *, retry_after_seconds: float | None = None) -> InferenceError:
    """Return an equal exception: one that is raised twice drags a growing traceback along."""
    return type(error)(error.message, retry_after_seconds=retry_after_seconds or error.retry_after_seconds)
