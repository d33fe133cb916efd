from __future__ import annotations

import math
from pathlib import Path

import orjson
import pytest

from benchmarks import capacity
from benchmarks.capacity import Fleet, Plan, Platform, Prices, Service, plan_batch

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "plan-capacity.md"

#: A replica that is there, a service without any cost but scoring, and free storage: sums that fit in the head.
WARM = Platform(min_replicas=1, cold_start_seconds=0)
SIMPLE = Service(images_per_second=50, fetch_seconds=0.01, lines_per_second=1e9, messages_per_second=1e9)
FREE_STORAGE = Prices(vcpu_second=1.0, gib_second=0.0, storage_writes=0, storage_reads=0, queue_calls=0)


def plan(
    images: int, replicas: int, service: Service = SIMPLE, platform: Platform = WARM, prices: Prices = FREE_STORAGE
) -> Plan:
    return plan_batch(images, replicas, service, platform, prices)


def test_one_warm_replica_takes_as_long_as_its_rate_says() -> None:
    found = plan(50_000, 1)

    assert found.drain_seconds == pytest.approx(1000, abs=5)
    assert found.peak_rate == 50


def test_a_slow_origin_bounds_a_replica_by_its_fetches_under_way() -> None:
    slow = Service(images_per_second=50, fetch_seconds=0.4, fetches=8)

    assert slow.rate == 20
    assert plan(10_000, 1, slow).peak_rate == 20


def test_from_nothing_a_batch_waits_for_a_look_at_the_queue_and_for_a_replica() -> None:
    cold = Platform(cold_start_seconds=40)

    found = plan(5_000, 1, platform=cold)

    assert found.drain_seconds == pytest.approx(plan(5_000, 1).drain_seconds + 30 + 40, abs=2)


def test_a_fleet_grows_by_four_or_by_as_many_again_every_fifteen_seconds_up_to_what_is_wanted() -> None:
    fleet = Fleet(Platform(queue_length=2), max_replicas=50)
    sizes = []

    for second in range(1, 151):
        fleet.decide(second, messages=1000)
        if second % 15 == 0:
            sizes.append(len(fleet))

    assert sizes == [0, 1, 5, 10, 20, 40, 50, 50, 50, 50]


def test_a_fleet_wants_no_more_replicas_than_there_are_messages_for() -> None:
    fleet = Fleet(Platform(queue_length=2, min_replicas=1), max_replicas=50)

    for second in range(100):
        fleet.decide(second, messages=7)

    assert len(fleet) == math.ceil(7 / 2)


def test_replicas_stay_for_five_minutes_after_the_work_and_then_all_go() -> None:
    fleet = Fleet(Platform(), max_replicas=10)
    for second in range(200):
        fleet.decide(second, messages=100)
    assert len(fleet) == 10

    sizes = {}
    for second in range(200, 700):
        fleet.decide(second, messages=0)
        sizes[second] = len(fleet)

    assert sizes[480] == 10
    assert sizes[515] == 0


def test_what_is_paid_is_each_second_of_each_replica() -> None:
    platform = Platform(cpu=2.0, cold_start_seconds=0)

    found = plan(50_000, 1, platform=platform)

    assert found.storage == 0
    assert found.cost == found.replica_seconds * 2.0
    assert found.replica_seconds == pytest.approx(1000 + 300, abs=20)


def test_storage_is_paid_by_the_call_and_by_the_poll() -> None:
    priced = Prices(vcpu_second=0, gib_second=0, storage_writes=10_000, storage_reads=20_000, queue_calls=40_000)
    service = Service(writes=3, reads=2, queue_calls=1, polls_per_second=0)

    assert plan(1000, 1, service, prices=priced).cost == pytest.approx(3 + 4 + 4)

    polling = Service(writes=0, reads=0, queue_calls=0, polls_per_second=2)
    found = plan(10_000, 1, polling, prices=priced)
    assert found.cost == pytest.approx(found.drain_seconds * 2 * 4, rel=0.01)


def test_the_messages_of_a_manifest_are_no_sooner_worked_on_than_they_are_sent() -> None:
    slow = Service(images_per_second=1e6, fetch_seconds=1e-6, messages_per_second=1, shard_size=100)

    found = plan(10_000, 10, slow)

    assert found.drain_seconds >= 100
    assert found.peak_rate == pytest.approx(100)


def test_the_platform_s_numbers_are_those_that_are_deployed() -> None:
    host = orjson.loads((ROOT / "host.json").read_bytes())

    assert Platform().queue_length == host["extensions"]["queues"]["batchSize"]


@pytest.mark.parametrize("arguments", [[], ["--images", "10000"]], ids=["a million", "ten thousand"])
def test_the_page_shows_what_the_script_prints(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main(arguments)

    assert capsys.readouterr().out.strip() in PAGE.read_text()
