"""Whose conversations a browser may see: a signed-in user's, this computer's, or those of one guest's cookie.

A person who signs in owns what the name owns. Without sign-in a page that only this computer can reach has one owner;
a page that others can reach gives every browser an unguessable cookie. Who started the program gets a link that makes a browser
this computer's on such a page too, so that what was made here before is there. Gradio's session hash is chosen by the client
and is never asked.

What Gradio gives to whoever knows a name is given to whom it belongs only: uploads, and what a window's events answer. Gradio names uploads by their
content and lets the client choose its session's hash; both can be known to another. Here an upload's folder is named by chance and whose it is is
remembered, and a session is one of its hash and its visitor. Knows no component.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode

from gradio import route_utils
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from assistant.errors import AssistantError, NotFoundError

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
        """Who asks for one of our own addresses, by the sign-in of the gradio app that serves it. Raises NotFoundError as `of`."""
        app = request.app
        token = next((request.cookies[name] for kind in ("", "unsecure-") if (name := f"access-token-{kind}{app.cookie_id}") in request.cookies), None)
        return self.of(app.tokens.get(token), request.cookies)


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


MOST_WAITING = 2 * 2**30  # bytes of uploads that nobody has sent or taken away yet, of all visitors together
MOST_BODY = 400 * 2**20  # bytes of one request: as many pictures as a concept is learned from, each as large as it may be
REMEMBERED = 16384


class OwnUpload(route_utils.GradioUploadFile):
    """Two uploads of one picture are two files: whoever sends one leaves the other's where it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sha.update(secrets.token_bytes(32))


class Belongings:
    """Whose uploads are, as far as remembered.

    Args:
        folder: where Gradio puts uploads.
    """

    def __init__(self, owners: Owners, folder: Path) -> None:
        self.owners, self.folder = owners, folder
        self._uploads: OrderedDict[str, str] = OrderedDict()
        self._secret = secrets.token_bytes(16)

    def brought(self, path: str, owner: str) -> None:
        self._uploads[os.path.realpath(path)] = owner
        while len(self._uploads) > REMEMBERED:
            self._uploads.popitem(last=False)

    def may_use(self, path: str, owner: str) -> bool:
        """Whether a file is this owner's to look at; one that nobody brought was put there by the page."""
        return self._uploads.get(os.path.realpath(path), owner) == owner

    def session(self, given: str, owner: str) -> str:
        """The session of a hash that a visitor has chosen: another's of that hash is another."""
        return f"{given}-{hashlib.sha256(self._secret + owner.encode()).hexdigest()[:16]}"

    def make_room(self, size: int) -> None:
        """Remove the oldest uploads until so many bytes more are within MOST_WAITING: strangers must not fill the disk, nor keep others from uploading."""
        found = []
        for folder, _, names in os.walk(self.folder):
            for path in (os.path.join(folder, name) for name in names):
                with suppress(OSError):  # it has just been sent
                    found.append((os.path.getmtime(path), os.path.getsize(path), path))
        size += sum(bytes_ for _, bytes_, _ in found)
        for _, bytes_, path in sorted(found):
            if size <= MOST_WAITING:
                break
            with suppress(OSError):
                os.unlink(path)
            size -= bytes_


_JSON = ("/queue/join", "/cancel", "/reset", "/component_server")  # whose body names a session
_HEARTBEAT = re.compile(r"(.*/heartbeat/)([^/]+)")


class Guard:
    """ASGI middleware."""

    def __init__(self, app: Any, belongings: Belongings) -> None:
        self.app, self.belongings = app, belongings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, mine, request, refused = scope["path"], self.belongings, Request(scope), None
        try:
            owner = mine.owners.visitor(request)
        except AssistantError as error:  # a guest without a cookie, whom the page tells so
            owner, refused = "", PlainTextResponse(str(error), 403) if path.endswith("/upload") else None
        if path.endswith("/upload") and refused is None:
            length = request.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MOST_BODY:
                refused = PlainTextResponse(f"These pictures have more than {MOST_BODY // 2**20} MB together. Send fewer of them at once.", 413)
            else:
                mine.make_room(int(length))
            send = self._noting(send, owner)
        elif path.endswith(_JSON):
            receive = await self._renamed(receive, owner)
        elif path.endswith("/queue/data"):
            query = [(name, mine.session(value, owner) if name == "session_hash" else value) for name, value in parse_qsl(scope["query_string"].decode("latin-1"))]
            scope = {**scope, "query_string": urlencode(query).encode()}
        elif (found := _HEARTBEAT.fullmatch(path)) is not None:
            renamed = found[1] + mine.session(found[2], owner)
            scope = {**scope, "path": renamed, "raw_path": renamed.encode()}
        elif path.endswith("/left"):  # what Gradio holds of a closed window's widgets, some 3 MB, goes now and not when many others have come
            left = mine.session(request.query_params.get("session_hash", ""), owner)
            for held in (request.app.state_holder.session_data, request.app.state_holder.time_last_used):
                held.pop(left, None)
            refused = Response(status_code=204)
        elif "/file=" in path and not mine.may_use(unquote(path.partition("/file=")[2]), owner):
            refused = PlainTextResponse("", 404)  # as if it were not there
        await (refused or self.app)(scope, receive, send)

    def _noting(self, send: Any, owner: str) -> Any:
        """Note the paths that an upload is answered with, before the browser knows them."""
        async def noting(message: Any) -> None:
            if message["type"] == "http.response.body" and message.get("body", b"").startswith(b"["):
                for path in json.loads(message["body"]):
                    self.belongings.brought(path, owner)
            await send(message)

        return noting

    async def _renamed(self, receive: Any, owner: str) -> Any:
        """The body of an event with its session's own name. What is too large, or no JSON, is left to Gradio to refuse."""
        body, more = b"", True
        while more and len(body) <= MOST_BODY:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        try:
            said = json.loads(body) if not more else None
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and isinstance(said.get("session_hash"), str):
            body = json.dumps({**said, "session_hash": self.belongings.session(said["session_hash"], owner)}).encode()
        messages = iter([{"type": "http.request", "body": b"" if more else body, "more_body": False}])

        async def again() -> Any:
            return next(messages, None) or await receive()

        return again
