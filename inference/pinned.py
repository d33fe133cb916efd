"""The batch door's way to the scorer: one model version, named by its checksum, for a whole batch.

It refuses to score with another model than the one that was pinned, even under the same version number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference import telemetry
from inference.batch.ports import ModelPin
from inference.deadline import Deadline
from inference.engine import Engine
from inference.errors import DeadlineExceeded, InvalidManifest, InvalidRequest, ModelUnavailable
from inference.models.postprocess import check_parameters
from inference.schema import Misfit, read
from inference.scorer import ScoreParameters, Scorer, Source, check_source


class PinnedScorer:
    """Implements `inference.batch.ports.Scorer` on this process's scorer and cores."""

    def __init__(self, scorer: Scorer, engine: Engine) -> None:
        self._scorer = scorer
        self._engine = engine

    async def resolve(self, model: str | None, parameters: Mapping[str, Any]) -> ModelPin:
        """Return what `NAME[:VERSION]`, or the default model for None, is at this moment, and check its parameters.

        Raises InvalidManifest, ModelNotFound, ModelVersionNotFound, ModelUnavailable.
        """
        wanted = read_parameters(parameters)
        session = await self._scorer.session(model)
        try:
            check_parameters(session.spec, wanted.as_dict())
            check_source(Source(url="https://host/"), session)
        except InvalidRequest as exc:
            raise InvalidManifest(exc.message) from None
        return ModelPin(session.version.name, session.version.version, session.sha256)

    async def score(
        self, url: str, pin: ModelPin, parameters: Mapping[str, Any], deadline_seconds: float
    ) -> list[Mapping[str, Any]]:
        """Return the predictions of exactly that model version. Raises InferenceError."""
        deadline = Deadline.after(deadline_seconds)
        try:
            session = await deadline.bound(self._scorer.session(f"{pin.name}:{pin.version}"))
        except DeadlineExceeded:  # which would be charged to the item
            raise ModelUnavailable(f"{pin.name}:{pin.version} takes longer to load than an item may.") from None
        if session.sha256 != pin.sha256:
            raise ModelUnavailable(f"{session.version} is no longer the model that this batch began with.")
        wanted = read_parameters(parameters)
        # Not counted: that is done once, when the item's row ends.
        with telemetry.labelled(model=pin.name, model_version=pin.version):
            score = await self._scorer.score(Source(url=url), session, wanted, self._engine.admit_batch(), deadline)
        return score.predictions


def read_parameters(parameters: Mapping[str, Any]) -> ScoreParameters:
    """Check a manifest's `parameters`. Raises InvalidManifest."""
    try:
        return read(ScoreParameters, parameters, under="parameters")
    except Misfit as exc:
        raise InvalidManifest(f"{exc}.") from None
