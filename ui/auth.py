"""Whose conversations a browser may see: a signed-in user's, this computer's, or those of one guest's cookie.

A person who signs in owns what the name owns. Without sign-in a page that only this computer can reach has one owner;
a page that others can reach gives every browser an unguessable cookie. Who started the program gets a link that makes a browser
this computer's on such a page too, so that what was made here before is there. Gradio's session hash is chosen by the client
and is never asked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse

from assistant.errors import NotFoundError

COOKIE = "cafe-guest"
OWN_COOKIE = "cafe-own"
_GUEST = re.compile(r"[A-Za-z0-9_-]{40,64}")
_YEAR = 365 * 24 * 3600

# Scripts and styles come from this server only; nothing on the page may reach another host.
_POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
           "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
           "font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
           "base-uri 'self'; form-action 'self'")


class CookieError(NotFoundError):
    """A guest's browser keeps no cookie."""

    outside = True  # a page inside another site's offers to open by itself, where browsers do keep them


class Owners:
    """Args:
        guests: whether people without a sign-in are kept apart by a cookie (others can reach the page).
        own: the secret of the link by which a browser is this computer's; "": there is no such link.
    """

    def __init__(self, guests: bool, own: str = "") -> None:
        self.guests, self.own = guests, own

    def of(self, username: str | None, cookies: Mapping[str, str]) -> str:
        """Raises CookieError: a guest without a cookie."""
        if self.own and secrets.compare_digest(cookies.get(OWN_COOKIE, "").encode(), self.own.encode()):
            return "local"
        if username:
            return f"user:{username}"
        if not self.guests:
            return "local"
        guest = cookies.get(COOKIE, "")
        if not _GUEST.fullmatch(guest):
            raise CookieError("This page needs a cookie to keep your conversations apart from others'.",
                                "Allow cookies for it and reload.")
        return f"guest:{guest}"

    def visitor(self, request: Any) -> str:
        """Who asks for one of our own addresses. Raises NotFoundError as `of`."""
        return self.of(signed_in(request), request.cookies)


def signed_in(request: Any) -> str | None:
    """The user a request of one of our own routes comes from, by the rules of the gradio app that serves it."""
    app = request.app
    token = next((request.cookies[name] for kind in ("", "unsecure-")
                  if (name := f"access-token-{kind}{app.cookie_id}") in request.cookies), None)
    return app.tokens.get(token)


class PageHeaders:
    """ASGI middleware: the guest's cookie, and headers that keep the page to itself.

    Args:
        owners: a guest is handed the cookie; who comes by the link with the secret, the other.
        framed: the page is shown inside another site's frame over HTTPS (Hugging Face Spaces): the cookie says so.
    """

    def __init__(self, app: Any, owners: Owners, framed: bool) -> None:
        self.app, self.owners = app, owners
        self._rules = "SameSite=None; Secure; Partitioned" if framed else "SameSite=Lax"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        cookies = next((value for name, value in scope["headers"] if name == b"cookie"), b"")
        rules = f"{self._rules}; Secure" if scope.get("scheme") == "https" and "Secure" not in self._rules else self._rules
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if self.owners.own and secrets.compare_digest("".join(query.get("own", ())).encode(), self.owners.own.encode()):
            answer = RedirectResponse("./", 303)
            answer.headers["set-cookie"] = f"{OWN_COOKIE}={self.owners.own}; Path=/; HttpOnly; {rules}"
            await answer(scope, receive, send)
            return
        held = re.search(rf"(?:^|;)\s*{COOKIE}=([^;]*)", cookies.decode("latin-1"))
        new = self.owners.guests and scope["path"] == "/" and not (held and _GUEST.fullmatch(held[1].strip()))

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(b"content-security-policy", _POLICY.encode()), (b"x-content-type-options", b"nosniff"),
                         (b"referrer-policy", b"same-origin"), (b"x-accel-buffering", b"no")]  # nginx would hold back what is told while a turn goes on
                if new:
                    value = f"{COOKIE}={secrets.token_urlsafe(32)}; Max-Age={_YEAR}; Path=/; HttpOnly; {rules}"
                    extra.append((b"set-cookie", value.encode()))
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await self.app(scope, receive, send_with_headers)
