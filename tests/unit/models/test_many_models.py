"""A repository of many models: what is asked of all of them at once costs each a little, however many they are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from inference.models.catalog import Catalog, Release, publish
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelVersion
from inference.models.session import ModelSession
from inference.models.source import LocalVersion

MODELS, VERSIONS = 40, 5
#: Of one look at so many on a slow disk or a distant account; more than a look may be old for a request.
SURVEY_SECONDS = 5.0
POLL_SECONDS = 60.0


class CountedName(str):
    """A model's name that counts how often one is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


class Session:
    """A session that nobody runs."""

    has_idle_lane = False

    def __init__(self, version: ModelVersion) -> None:
        self.version = version


class LargeSource:
    """A repository that takes long to look at, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.surveys = 0

    def clock(self) -> float:
        return self.now

    async def survey(self) -> Catalog:
        self.surveys += 1
        self.now += SURVEY_SECONDS
        names = [CountedName(f"model-{number}") for number in range(MODELS)]
        versions = [str(number) for number in range(VERSIONS)]
        releases = {name: [Release(name, version, "published") for version in versions] for name in names}
        return Catalog({name: publish(name, releases[name], None) for name in names})

    async def fetch(self, release: Release) -> LocalVersion:
        version = ModelVersion(release.name, release.version, Path(), str(release), {})
        return LocalVersion(version, 1, lambda: None)

    async def close(self) -> None:
        return


@pytest.fixture
def source() -> LargeSource:
    return LargeSource()


@pytest.fixture
def registry(source: LargeSource) -> Iterator[ModelRegistry]:
    with ThreadPoolExecutor(1) as executor:
        yield ModelRegistry(
            source,
            executor,
            load=lambda version: cast("ModelSession", Session(version)),
            poll_seconds=POLL_SECONDS,
            clock=source.clock,
        )


async def load_all(registry: ModelRegistry) -> None:
    for number in range(MODELS):
        await registry.get(f"model-{number}")


async def test_models_that_are_asked_for_one_after_the_other_are_found_by_one_look(
    registry: ModelRegistry, source: LargeSource
) -> None:
    await load_all(registry)

    assert source.surveys == 1


async def test_a_poll_looks_once_for_all_the_models_that_are_loaded(
    registry: ModelRegistry, source: LargeSource
) -> None:
    await load_all(registry)
    source.surveys = 0
    source.now += POLL_SECONDS
    await registry.poll()

    assert source.surveys == 1


async def test_a_listing_compares_each_version_with_a_few_others(registry: ModelRegistry) -> None:
    await load_all(registry)
    await registry.states()
    CountedName.compared = 0

    states = await registry.states()

    assert [state.state for state in states].count("ready") == MODELS
    assert CountedName.compared <= 2 * len(states)
