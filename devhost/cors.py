"""Owns CORS for the origins that local.settings.json allows under Host.CORS."""

from msgspec import Struct

from devhost.http_messages import Request, Response

_ANSWERS = frozenset({"access-control-allow-origin", "access-control-allow-credentials"})


class CorsPolicy(Struct, frozen=True):
    """Allowed origins; `*` allows any. Empty: no CORS headers at all."""

    origins: tuple[str, ...] = ()
    allows_credentials: bool = False

    @property
    def is_enabled(self) -> bool:
        return bool(self.origins)

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.rstrip("/") in self.origins

    def answer_preflight(self, request: Request) -> Response | None:
        """Answer a preflight request; None when the request is none."""
        method = request.headers.get("access-control-request-method")
        if request.method != "OPTIONS" or method is None:
            return None
        response = Response(204)
        if self.allows(request.headers["origin"]):
            response.headers.append(("Access-Control-Allow-Methods", method))
            if wanted := request.headers.get("access-control-request-headers"):
                response.headers.append(("Access-Control-Allow-Headers", wanted))
        return response

    def mark(self, request: Request, response: Response) -> None:
        """Add the headers that let the page of an allowed origin read the response."""
        origin = request.headers["origin"]
        if not self.allows(origin):
            return
        # In the place of the function's own: a browser takes the reply of two for one of none.
        response.headers = [pair for pair in response.headers if pair[0].lower() not in _ANSWERS]
        response.headers.append(("Access-Control-Allow-Origin", "*" if "*" in self.origins else origin))
        if "*" not in self.origins:
            response.headers.append(("Vary", "Origin"))
            if self.allows_credentials:
                response.headers.append(("Access-Control-Allow-Credentials", "true"))
