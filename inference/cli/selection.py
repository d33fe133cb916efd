"""The options that choose dead letters, the same for every command; it refuses to ask the service for any."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Concatenate

from inference.cli.options import BatchIdOption, CodeOption, LimitOption, SinceOption


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters as the options name them; None is any."""

    batch_id: str | None
    code: str | None
    #: As the service reads a time.
    since: str | None
    limit: int | None

    @property
    def is_everything(self) -> bool:
        return not (self.batch_id or self.code or self.since) and self.limit is None

    def parameters(self) -> dict[str, Any]:
        """Return what was chosen, as the service's parameters."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def takes_selection[**P, R](command: Callable[Concatenate[Selection, P], R]) -> Callable[..., R]:
    """Give a command the options that choose dead letters, before its own; it gets them as one, its first argument."""
    options = inspect.signature(_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def choosing(*args: P.args, **given: P.kwargs) -> R:
        chosen = {name: given.pop(name) for name in options}
        return command(_options(**chosen), *args, **given)  # type: ignore[arg-type]  # click's own names

    shown = [*options.values(), *[*own.parameters.values()][1:]]
    choosing.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]  # what Typer reads
    choosing.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return choosing


def _options(
    batch_id: BatchIdOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    limit: LimitOption = None,
) -> Selection:
    from inference.cli.since import parse_since

    return Selection(batch_id, code, parse_since(since), limit)
