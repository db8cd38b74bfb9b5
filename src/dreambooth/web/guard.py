"""Who may speak to the studio, and how much: checked before anything else sees a request.

Host      exactly one of the names that it listens to, against DNS rebinding
Origin    on everything that changes something, exactly this page's own; "null" is nobody's
token     everywhere but on this machine, exchanged once for a cookie that no script reads
body      no longer and no slower than what its route takes
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from dreambooth.web.refusal import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "dreambooth_studio"
_PORT = re.compile(r":([0-9]+)$")
READING = ("GET", "HEAD")
LONGEST_ADDRESS, LONGEST_HEADERS = 2048, 32 * 1024
SMALL = 64 * 1024
"""Bytes of a body that is no photo."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""On every answer."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """hosts: what a Host header may be, with its port.  token: what opens the studio, None where it needs none.

    large, upload: bytes that a body may have where `is_upload` says so of a path.  seconds, patience: that a body may
    take, and between two parts of it.
    """

    hosts: frozenset[str]
    token: str | None = None
    upload: int
    is_upload: Callable[[str], bool]
    seconds: float = 300.0
    patience: float = 20.0

    @property
    def cookie(self) -> str:
        """What the token is exchanged for."""
        return hashlib.sha256(f"cookie of {self.token}".encode()).hexdigest()


class Guard:
    """The app behind the rules."""

    def __init__(self, app: App, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket that is not accepted is closed with 403
        answered = False

        async def sent(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(_with_headers(message) if message["type"] == "http.response.start" else message)

        try:
            if entering := self._check(scope):
                await _answer(sent, 200, _ENTER, "text/html; charset=utf-8", {"set-cookie": entering})
                return
            await self.app(scope, self._bounded(scope, receive), sent)
        except Refusal as refused:
            if not answered:
                await _answer(sent, refused.status, refused.sentence + "\n", "text/plain; charset=utf-8")

    def _check(self, scope: Scope) -> str:
        """The cookie to set where the address has the token, else ""; raises Refusal."""
        headers = _headers(scope)
        if len(headers.get("host", [])) != 1:
            raise Refusal(400, "One Host is needed.")
        host = headers["host"][0].lower()
        if host not in self.rules.hosts:
            raise Refusal(403, "This host is not known here: open the address that `dreambooth web` printed.")
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_ADDRESS:
            raise Refusal(414, "This address is too long.")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_HEADERS:
            raise Refusal(431, "These headers are too long.")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in scope["path"]):
            raise Refusal(400, "This address has control characters.")
        self._check_origin(scope, headers, host)
        return self._check_token(scope, headers, cookie_name(host))

    def _check_origin(self, scope: Scope, headers: dict[str, list[str]], host: str) -> None:
        mine = {f"http://{host}", f"https://{host}"}
        plain = _PORT.sub("", host)
        if plain in self.rules.hosts:  # of a proxy, which may have told its own port, or this one's
            mine.add(f"https://{plain}")
        origins, sites = headers.get("origin", []), headers.get("sec-fetch-site", [])
        if (origins or scope["method"] not in READING) and (len(origins) != 1 or origins[0] not in mine):
            raise Refusal(403, "This did not come from the studio's own page.")
        elsewhere = [site for site in sites if site not in ("same-origin", "none")]
        if elsewhere and not (scope["method"] in READING and headers.get("sec-fetch-mode") == ["navigate"]):
            raise Refusal(403, "Another site's page may not read or change anything here.")

    def _check_token(self, scope: Scope, headers: dict[str, list[str]], name: str) -> str:
        if (token := self.rules.token) is None:
            return ""
        for line in headers.get("cookie", []):
            if hmac.compare_digest(_cookie_in(line, name).encode(), self.rules.cookie.encode()):
                return ""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        entering = scope["path"] == "/" and scope["method"] == "GET" and len(given) == 1
        if entering and hmac.compare_digest(given[0].encode(), token.encode()):
            return f"{name}={self.rules.cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        raise Refusal(401, "The studio needs its key: open the whole link that `dreambooth web` printed.")

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` with the limits of a body."""
        most = self.rules.upload if self.rules.is_upload(scope["path"]) else SMALL
        lengths = _headers(scope).get("content-length", [])
        if lengths and (not lengths[0].isdigit() or len(lengths) > 1):
            raise Refusal(400, "The length of the body is no number.")
        if lengths and int(lengths[0]) > most:
            raise Refusal(413, f"This is larger than {most / 2**20:.3g} MB, the most that is taken here.")
        began, size, whole = time.monotonic(), 0, scope["method"] in READING

        async def bounded() -> Message:
            nonlocal size, whole
            if whole:  # what comes now is that the other side has gone
                return await receive()
            wait = min(self.rules.patience, began + self.rules.seconds - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), max(0.0, wait))
            except TimeoutError as error:
                raise Refusal(408, "This took too long to arrive: try again on a better connection.") from error
            size += len(message.get("body", b""))
            if size > most:
                raise Refusal(413, f"This is larger than {most / 2**20:.3g} MB, the most that is taken here.")
            whole = not message.get("more_body", False)
            return message

        return bounded


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def cookie_name(host: str) -> str:
    """That of the studio at this host and port: browsers send a cookie to every port, and two would take turns."""
    port = _PORT.search(host)
    return f"{COOKIE}_{port[1]}" if port else COOKIE


def _cookie_in(line: str, name: str) -> str:
    try:
        morsel = SimpleCookie(line).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _with_headers(message: Message) -> Message:
    mine = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    names = {name.lower() for name, _ in message.get("headers", [])}
    if b"cache-control" not in names:
        mine.append((b"cache-control", b"no-store"))
    return {**message, "headers": [*message.get("headers", []), *mine]}


async def _answer(send: Send, status: int, text: str, kind: str, more: dict[str, str] | None = None) -> None:
    body = text.encode()
    headers = {"content-type": kind, "content-length": str(len(body)), "connection": "close", **(more or {})}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


_ENTER = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">
<title>The studio opens</title></head><body><p><a href="/">Open the studio</a></p></body></html>
"""
"""A page of the studio's own that goes on to it: after a link from elsewhere a browser sends no strict cookie."""
