"""The queue's door: manifests become shards, shards become rows, rows become results and dead letters.

It refuses to know hosts, vendors and HTTP: it works on the protocols of `inference.storage` and of `batch.ports`.
"""
