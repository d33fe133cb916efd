"""Owns the delay between polls of an empty queue: the Storage extension's RandomizedExponentialBackoffStrategy."""

import random
from collections.abc import Callable

#: QueuePollingIntervals.Minimum.
MINIMUM_SECONDS = 0.1

#: RandomizedExponentialBackoffStrategy.RandomizationFactor.
RANDOMIZATION = 0.2


class PollingBackoff:
    """Grows from 100 ms towards the maximum while polls find nothing; starts again after one that did."""

    def __init__(self, maximum_seconds: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._maximum_seconds = maximum_seconds
        self._uniform = uniform
        self._current_seconds = MINIMUM_SECONDS
        self._exponent = 1

    def next_delay_seconds(self, *, found_something: bool) -> float:
        """Return the delay before the next poll."""
        if found_something:
            self._current_seconds, self._exponent = MINIMUM_SECONDS, 1
        elif self._current_seconds < self._maximum_seconds:
            factor = self._uniform(1 - RANDOMIZATION, 1 + RANDOMIZATION)
            increment = factor * 2.0 ** (self._exponent - 1) * MINIMUM_SECONDS
            self._exponent += 1
            self._current_seconds = min(MINIMUM_SECONDS + increment, self._maximum_seconds)
        return self._current_seconds
