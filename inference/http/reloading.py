"""Bringing a model up to date because a request asks for it, for as long as a request may take.

It refuses to end a load that takes longer: whoever asks for the model next finds it.
"""

from __future__ import annotations

from inference.deadline import Deadline
from inference.errors import DeadlineExceeded
from inference.models.registry import ModelRegistry
from inference.settings import RequestLimits


async def reload_in_time(registry: ModelRegistry, name: str, limits: RequestLimits) -> None:
    """Have the registry look for what was published of a model, and load it.

    Raises DeadlineExceeded when that takes longer, and goes on; what `ModelRegistry.reload` raises.
    """
    try:
        await Deadline.after(limits.timeout_seconds).bound(registry.reload(name))
    except DeadlineExceeded:
        raise DeadlineExceeded("This takes longer than a request may; it goes on.") from None
