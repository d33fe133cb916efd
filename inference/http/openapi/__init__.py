"""The API described as OpenAPI 3.1, from the same tables that the handlers use; it refuses to serve it."""

from inference.http.openapi.assembly import document

__all__ = ["document"]
