"""Statistics in Triton's taxonomy."""

from inference.http.oip.statistics import Durations, Statistics

DURATIONS = Durations(queue=1, compute_input=20, compute_infer=300, compute_output=4000)


def test_a_version_that_no_one_asked_for_is_all_zero() -> None:
    entry = Statistics().describe("m", "1")

    assert (entry["last_inference"], entry["inference_count"], entry["execution_count"]) == (0, 0, 0)
    assert entry["batch_stats"] == []
    assert all(duration == {"count": 0, "ns": 0} for duration in entry["inference_stats"].values())


def test_requests_items_and_durations_add_up() -> None:
    statistics = Statistics(clock=lambda: 1.5)

    statistics.succeed("m", "1", 3, 0.000_005, DURATIONS)
    statistics.succeed("m", "1", 1, 0.000_005, DURATIONS)
    statistics.succeed("m", "1", 3, 0.000_005, DURATIONS)
    statistics.fail("m", "1", 0.001)

    entry = statistics.describe("m", "1")
    assert (entry["last_inference"], entry["inference_count"], entry["execution_count"]) == (1500, 7, 3)
    stats = entry["inference_stats"]
    assert stats["success"] == {"count": 3, "ns": 15_000}
    assert stats["fail"] == {"count": 1, "ns": 1_000_000}
    assert stats["queue"] == {"count": 3, "ns": 3}
    assert stats["compute_output"] == {"count": 3, "ns": 12_000}
    assert [batch["batch_size"] for batch in entry["batch_stats"]] == [1, 3]
    assert entry["batch_stats"][1]["compute_infer"] == {"count": 2, "ns": 600}


def test_versions_are_told_apart() -> None:
    statistics = Statistics()

    statistics.fail("m", "1", 0.0)

    assert statistics.describe("m", "2")["inference_stats"]["fail"]["count"] == 0
