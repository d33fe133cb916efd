"""Suppression against a reference that compares every pair of boxes, one at a time."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.models.tasks.suppression import suppress

#: Few coordinates, so that boxes meet, touch, coincide and have no area at all.
coordinates = st.integers(0, 8).map(float)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)
candidates = st.lists(st.tuples(boxes, st.sampled_from([0.1, 0.5, 0.75, 0.9]), st.integers(0, 2)), max_size=24)


def area(box: tuple[float, ...]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def reference(found: list[tuple[tuple[float, ...], float, int]], iou_threshold: float, limit: int) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(found)), key=lambda i: -found[i][1]):
        box, _, kind = found[index]
        rivals = [found[i][0] for i in kept if found[i][2] == kind]
        shared = [(overlap(box, rival), area(box) + area(rival)) for rival in rivals]
        if all(common <= iou_threshold * (total - common) for common, total in shared):
            kept.append(index)
    return kept[:limit]


def arrays(
    found: list[tuple[tuple[float, ...], float, int]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    return (
        np.array([box for box, _, _ in found], float).reshape(-1, 4),
        np.array([score for _, score, _ in found], float),
        np.array([kind for _, _, kind in found], int),
    )


@given(candidates, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(1, 30))
def test_what_stays_is_what_the_reference_keeps(
    found: list[tuple[tuple[float, ...], float, int]], iou_threshold: float, limit: int
) -> None:
    kept = suppress(*arrays(found), iou_threshold=iou_threshold, limit=limit)

    assert kept.tolist() == reference(found, iou_threshold, limit)


@given(candidates, st.sampled_from([0.0, 0.45]))
def test_what_stays_is_in_order_and_its_boxes_of_a_class_are_apart(
    found: list[tuple[tuple[float, ...], float, int]], iou_threshold: float
) -> None:
    kept = suppress(*arrays(found), iou_threshold=iou_threshold, limit=100).tolist()

    assert [found[i][1] for i in kept] == sorted((found[i][1] for i in kept), reverse=True)
    for a, b in itertools.combinations(kept, 2):
        common = overlap(found[a][0], found[b][0])
        union = area(found[a][0]) + area(found[b][0]) - common
        assert found[a][2] != found[b][2] or common <= iou_threshold * union


def test_classes_do_not_suppress_each_other() -> None:
    same = np.array([[0, 0, 10, 10]] * 2, float)
    scores = np.array([0.5, 0.9])

    assert suppress(same, scores, np.array([0, 1]), iou_threshold=0.5, limit=9).tolist() == [1, 0]
    assert suppress(same, scores, np.array([1, 1]), iou_threshold=0.5, limit=9).tolist() == [1]


def test_nothing_gives_nothing() -> None:
    empty = suppress(np.empty((0, 4)), np.empty(0), np.empty(0, int), iou_threshold=0.5, limit=9)

    assert empty.tolist() == []


@pytest.mark.parametrize("edge", [1e308, 1e200])
def test_areas_that_overflow_suppress_nothing_and_warn_of_nothing(edge: float) -> None:
    huge = np.array([[-edge, -edge, edge, edge]] * 3)

    assert len(suppress(huge, np.ones(3), np.zeros(3, int), iou_threshold=0.5, limit=9)) in (1, 3)


def test_memory_does_not_grow_with_the_pairs_of_boxes() -> None:
    random = np.random.default_rng(3)
    corners = random.random((8400, 2)) * 600
    found = np.hstack((corners, corners + 20 + random.random((8400, 2)) * 60))
    scores, classes = random.random(8400), random.integers(0, 80, 8400)

    tracemalloc.start()
    try:
        kept = suppress(found, scores, classes, iou_threshold=0.45, limit=100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # One number for each of the seventy million pairs would be 560 MB.
    assert len(kept) == 100
    assert peak < 10_000_000
