"""Open Inference Protocol v2 over REST, with Triton's extensions: docs/reference/open-inference-protocol.md.

It refuses to dispatch on Content-Type: Triton's own clients send none, or the wrong one.
"""

from inference.http.oip.routes import OipRoutes

__all__ = ["OipRoutes"]
