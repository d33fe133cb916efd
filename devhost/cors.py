"""Owns CORS for the origins that local.settings.json allows under Host.CORS."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class CorsPolicy:
    """Allowed origins; `*` allows any. Empty: no CORS headers at all."""

    origins: tuple[str, ...] = ()
    allows_credentials: bool = False

    @property
    def is_enabled(self) -> bool:
        return bool(self.origins)

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.rstrip("/") in self.origins

    def answer_preflight(self, request: web.BaseRequest) -> web.Response | None:
        """Answer a preflight request; None when the request is none."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        response = web.Response(status=204)
        if self.allows(request.headers["Origin"]):
            wanted = request.headers
            response.headers["Access-Control-Allow-Methods"] = wanted["Access-Control-Request-Method"]
            if "Access-Control-Request-Headers" in wanted:
                response.headers["Access-Control-Allow-Headers"] = wanted["Access-Control-Request-Headers"]
        return response

    def mark(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add the headers that let the page of an allowed origin read the response."""
        origin = request.headers["Origin"]
        if not self.allows(origin):
            return
        response.headers["Access-Control-Allow-Origin"] = "*" if "*" in self.origins else origin
        if "*" not in self.origins:
            response.headers["Vary"] = "Origin"
            if self.allows_credentials:
                response.headers["Access-Control-Allow-Credentials"] = "true"
