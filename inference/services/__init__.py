"""The composition root: every part of the product, built from settings and joined; nothing else constructs them.

What scoring needs is built at once; storage, batches, the protocol, the pages and the fetcher when they are first
asked for, so that a cold start pays for one request and not for all that could come.
"""

from inference.services.composition import Services, build

__all__ = ["Services", "build"]
