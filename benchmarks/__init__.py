"""Benchmarks, a package each; `make bench` runs `benchmarks.NAME` for every one that has a `__main__`."""
