"""Non-maximum suppression: of boxes of one class that overlap, the one that scores best.

It refuses to know where boxes come from: arrays in, indices out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type Boxes = NDArray[np.float64]


def suppress(
    boxes: Boxes, scores: NDArray[np.floating], classes: NDArray[np.integer], *, iou_threshold: float, limit: int
) -> NDArray[np.intp]:
    """Return the indices of at most `limit` boxes that stay, best first; equal scores keep their order.

    `boxes` is n x 4 (left, top, right, bottom). A box goes when one of its class that scores better stays and their
    intersection over union is more than `iou_threshold`. One pass a box that stays, over those that are still there.
    """
    remaining = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    # Coordinates near the end of their range overflow to infinity, whose overlap is then nan: nothing is suppressed.
    with np.errstate(over="ignore", invalid="ignore"):
        areas = _area(boxes)
        while remaining.size and len(kept) < limit:
            best, remaining = int(remaining[0]), remaining[1:]
            kept.append(best)
            rivals = classes[remaining] == classes[best]
            overlap = _overlap(boxes[best], boxes[remaining])
            # Intersection over union without its division: 0 / 0 of two boxes without an area is no overlap.
            union = areas[best] + areas[remaining] - overlap
            remaining = remaining[~(rivals & (overlap > iou_threshold * union))]
    return np.array(kept, np.intp)


def _area(boxes: Boxes) -> NDArray[np.float64]:
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _overlap(box: NDArray[np.float64], others: Boxes) -> NDArray[np.float64]:
    sides = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(min=0)
    return np.asarray(sides[:, 0] * sides[:, 1])
