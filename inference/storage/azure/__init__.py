"""Azure Storage behind the storage protocols: `AzureStorage.connect(settings)` is the way in.

It is the one package that imports `azure.storage`, and it refuses to be imported by its neighbours at import time:
the SDK takes a good part of a second to load, so `inference.services` does it on first use.
"""

from inference.storage.azure.account import AzureStorage

__all__ = ["AzureStorage"]
