"""From a url that a stranger chose to bytes, or to word that bytes arrived there, without being led anywhere else.

Nothing here looks into the bytes: `inference.image` does.
"""

from inference.fetch.fetcher import Fetcher
from inference.fetch.poster import Poster
from inference.fetch.resolver import Resolver, SystemResolver

__all__ = ["Fetcher", "Poster", "Resolver", "SystemResolver"]
