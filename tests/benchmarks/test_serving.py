"""What the serving benchmark makes of measurements, without measuring any server."""

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.serving.load import Load
from benchmarks.serving.photos import SIZE, make_photos
from benchmarks.serving.quiet import QUIET_SHARE, Observed, measure_quietly
from benchmarks.serving.report import CONNECTIONS, LIBRARY, Limit, Measured, Report, print_report
from benchmarks.serving.servers import OWN, SAMPLE


def report_of(**rates: float) -> Report:
    report = Report(plan={"threads": 1})
    for name, rate in rates.items():
        server = OWN if name == "own" else name
        for connections in CONNECTIONS:
            load = Load(rate, connections * 1000 / rate, 99.0)
            report.loads[server, connections] = [Measured(load, 2000 / rate, 0.01)] * 3
        report.cold[server] = [1.0]
        report.resident[server] = {"process 1": 60.0, "worker 2": 120.0}
    report.limits[1] = [Limit(100, 10.0, 10.0, 0.0)]
    report.limits[2] = [Limit(200, 10.0, 10.0, 0.0)]
    report.cold[SAMPLE] = [0.8]
    report.cold[LIBRARY] = [0.7]
    report.cold["script"], report.resident["script"] = [0.5], {"process": 100.0}
    return report


def test_bars_are_told_met_or_missed_beside_the_best_peer(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report_of(own=195.0, slow=100.0, quick=170.0), cores=2)

    printed = capsys.readouterr().out
    assert "2 cores, 1% of them taken by others" in printed
    assert "p50 at 1 connection / best peer: 0.87 (bar ≤ 0.70: missed)" in printed
    assert "throughput at 8 connections / best peer: 1.15 (bar ≥ 1.10: met)" in printed
    assert "throughput at 8 connections / in-process limit: 0.97 (bar ≥ 0.95: met)" in printed
    assert "cold start / bare script: 2.00 (bar ≤ 1.30: missed)" in printed
    assert "cold start of the script with the Functions library / bare script: 1.40" in printed
    assert "cold start / smallest function app: 1.25" in printed
    assert "memory of the worker / bare script: 1.20 (bar ≤ 1.50: met)" in printed
    assert printed.count("\n| ") == 2 + 3 + 1


def test_without_peers_there_is_still_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report_of(own=150.0), cores=2)

    printed = capsys.readouterr().out
    assert "best peer" not in printed
    assert "in-process limit: 0.75 (bar ≥ 0.95: missed)" in printed


def test_a_measurement_that_others_disturb_is_repeated_and_the_quietest_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.5, 0.2, 0.3])
    monkeypatch.setattr("benchmarks.serving.quiet._observe", lambda measure, _: Observed(measure(), 0.0, next(shares)))
    values = iter("abc")

    assert measure_quietly(lambda: next(values), None, tries=3).value == "b"


def test_a_quiet_measurement_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.serving.quiet._observe", lambda measure, _: Observed(measure(), 0.0, QUIET_SHARE / 2)
    )
    values = iter("abc")

    assert measure_quietly(lambda: next(values), None, tries=3).value == "a"
    assert next(values) == "b"


def test_the_same_photos_are_written_in_each_form(tmp_path: Path) -> None:
    sources = []
    for number, size in enumerate([(800, 600), (600, 800), (100, 80), (1200, 900)]):
        sources.append(tmp_path / f"source-{number}.jpg")
        Image.new("RGB", size, (number, 90, 200)).save(sources[-1])
    folder = tmp_path / "photos"
    folder.mkdir()

    photos = make_photos(tuple(sources), folder)

    assert [path.name for path in photos.raw] == ["source-0.jpg", "source-3.jpg"]
    for raw, form in zip(photos.raw, photos.form, strict=True):
        with Image.open(raw) as image:
            assert image.size == SIZE
        assert raw.read_bytes() in form.read_bytes()
