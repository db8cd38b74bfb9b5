"""Whoever is not the page gets nothing: raw HTTP, each attack with its own status."""

import asyncio
import io
import json
import re
import socket
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from PIL import Image

from dreambooth.web.connections import Connection
from dreambooth.web.guard import Guard, Message, Receive, Rules, Scope, Send
from dreambooth.web.server import allowed_hosts
from studio import KEY, Served, drafted, serving

SECRET = b"the secret of another folder"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a studio in it, a secret beside it, and links that lead there."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "secret.txt").write_bytes(SECRET)
    (folder / "secret.png").write_bytes(SECRET)
    (folder / "outside" / "samples" / "after").mkdir(parents=True)
    (folder / "outside" / "config.toml").write_text("")
    root = folder / "studio"
    run = root / "victim"
    (run / "samples" / "after").mkdir(parents=True)
    (run / "config.toml").write_text("")
    (run / "samples" / "after" / "link.png").symlink_to(folder / "secret.png")
    (run / "samples" / "own").symlink_to(folder)
    (run / "adapter").mkdir()
    (run / "adapter" / "link.safetensors").symlink_to(folder / "secret.txt")
    (run / "report.html").symlink_to(folder / "secret.txt")
    (run / "model").symlink_to(folder)
    (run / "model.json").write_text("{}")
    (root / "linked").symlink_to(folder / "outside")
    return root


@pytest.fixture(scope="module")
def open_(place: Path) -> Iterator[Served]:
    """A studio without a key, whose patience is short."""
    with serving(place, patience=0.5, seconds=2.0) as its:
        yield its


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A studio with a key."""
    with serving(tmp_path_factory.mktemp("locked"), token=KEY) as its:
        yield its


def request(served: Served, first: str, *headers: str, body: bytes = b"", host: str | None = None) -> bytes:
    """A request by hand; `host` None: the right one, "": none at all."""
    lines = [first + " HTTP/1.1"]
    lines += [f"Host: 127.0.0.1:{served.port}"] if host is None else [f"Host: {host}"] if host else []
    lines += [line.replace("ORIGIN", served.origin) for line in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body


HOSTS = {
    "no host": ("", 400),
    "a foreign name": ("evil.example", 403),
    "a foreign name with our port": ("evil.example:PORT", 403),
    "our name as the start of another": ("127.0.0.1.evil.example:PORT", 403),
    "our name without the port": ("127.0.0.1", 403),
    "another port": ("127.0.0.1:1", 403),
    "any address": ("0.0.0.0:PORT", 403),
    "a number for our address": ("2130706433:PORT", 403),
    "a user before it": ("evil@127.0.0.1:PORT", 403),
    "two names": ("127.0.0.1:PORT, evil.example", 403),
}


@pytest.mark.parametrize("attack", HOSTS)
def test_another_host_is_refused(attack: str, open_: Served) -> None:
    host, status = HOSTS[attack]
    for path in ("/", "/api/runs", "/static/home.js"):
        found, answer = open_.raw(request(open_, f"GET {path}", host=host.replace("PORT", str(open_.port))))
        assert found == status, answer


def test_two_hosts_are_refused(open_: Served) -> None:
    assert open_.raw(request(open_, "GET /", "Host: evil.example"))[0] == 400


def test_its_own_names_are_let_in(open_: Served) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert open_.raw(request(open_, "GET /", host=f"{name}:{open_.port}"))[0] == 200


def status_of(hosts: frozenset[str], method: str, headers: Mapping[str, str]) -> int:
    """What a guard before an app that answers everything says."""
    scope = {"type": "http", "method": method, "path": "/", "raw_path": b"/", "query_string": b""}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        said.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    rules = Rules(hosts=hosts, upload=0, is_upload=lambda path: False)
    asyncio.run(Guard(app, rules)({**scope, "headers": raw}, receive, send))
    return int(said[0]["status"])


PROXIES = {
    "https": ("studio.example", "studio.example", "https://studio.example", 200),
    "https, which tells its port": ("studio.example", "studio.example:443", "https://studio.example", 200),
    "https, which tells this port": ("studio.example", "studio.example:7800", "https://studio.example", 200),
    "http": ("studio.example", "studio.example", "http://studio.example", 200),
    "none": ("studio.example", "studio.example:7800", "http://studio.example:7800", 200),
    "a port of its own": ("Studio.example:8443", "studio.example:8443", "https://studio.example:8443", 200),
    "a usual port that was given": ("studio.example:443", "studio.example", "https://studio.example", 200),
    "an address of many colons": ("fd00::1", "[fd00::1]", "https://[fd00::1]", 200),
    "another page behind it": ("studio.example", "studio.example", "https://evil.example", 403),
    "another port of its name": ("studio.example", "studio.example", "https://studio.example:1", 403),
    "http beside the port": ("studio.example", "studio.example:7800", "http://studio.example", 403),
    "a port that was not given": ("studio.example:8443", "studio.example", "https://studio.example", 403),
    "our own name without its port": ("studio.example", "127.0.0.1", "https://127.0.0.1", 403),
    "our own name for another's": ("studio.example", "127.0.0.1:7800", "https://127.0.0.1", 403),
}


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxys_name_is_known_with_its_port_and_without(proxy: str) -> None:
    name, host, origin, status = PROXIES[proxy]
    hosts = allowed_hosts("127.0.0.1", 7800, [name])
    for method in ("GET", "POST"):
        assert status_of(hosts, method, {"host": host, "origin": origin}) == status


ORIGINS = {
    "none": (),
    "null": ("Origin: null",),
    "a foreign one": ("Origin: http://evil.example",),
    "one that begins as ours": ("Origin: ORIGIN.evil.example",),
    "another port of ours": ("Origin: http://127.0.0.1:1",),
    "another of our names": ("Origin: http://localhost:PORT",),
    "ours and a foreign one": ("Origin: ORIGIN", "Origin: http://evil.example"),
    "a file": ("Origin: file://",),
    "an empty one": ("Origin: ",),
    "ours, sent by another site": ("Origin: ORIGIN", "Sec-Fetch-Site: cross-site"),
    "ours, sent by a site beside us": ("Origin: ORIGIN", "Sec-Fetch-Site: same-site"),
}
WRITES = ("POST /api/drafts", "DELETE /api/drafts/x", "POST /api/runs/victim/stop", "PUT /api/runs/victim/favourites")


@pytest.mark.parametrize("attack", ORIGINS)
def test_another_origin_changes_nothing(attack: str, open_: Served) -> None:
    headers = [line.replace("PORT", str(open_.port)) for line in ORIGINS[attack]]
    before = sorted((open_.root / ".studio" / "drafts").iterdir())
    for first in WRITES:
        status, answer = open_.raw(request(open_, first, *headers, "Content-Type: application/json", body=b"{}"))
        assert status == 403, answer
    assert sorted((open_.root / ".studio" / "drafts").iterdir()) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_a_form_of_another_page_could_send_is_no_request(kind: str, open_: Served) -> None:
    status, _ = open_.raw(
        request(
            open_, "POST /api/runs/victim/stop", "Origin: ORIGIN", f"Content-Type: {kind}", body=b'{"at_once":true}'
        )
    )
    assert status == 422


def test_another_sites_page_reads_nothing_but_may_link_here(open_: Served) -> None:
    there = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")
    assert open_.raw(request(open_, "GET /api/runs", *there))[0] == 403
    assert open_.raw(request(open_, "GET /api/runs", "Origin: http://evil.example"))[0] == 403
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert open_.raw(request(open_, "GET /", *link))[0] == 200


TOKENS = {
    "none": ("GET /", ()),
    "a wrong one": ("GET /?token=wrong", ()),
    "the start of it": (f"GET /?token={KEY[:-1]}", ()),
    "an empty one": ("GET /?token=", ()),
    "two": (f"GET /?token=wrong&token={KEY}", ()),
    "on another page": (f"GET /api/runs?token={KEY}", ()),
    "in a write": (f"POST /?token={KEY}", ("Origin: ORIGIN",)),
    "as the cookie": ("GET /", (f"Cookie: dreambooth_studio_PORT={KEY}",)),
    "a wrong cookie": ("GET /", ("Cookie: dreambooth_studio_PORT=0000",)),
    "an empty cookie": ("GET /", ("Cookie: dreambooth_studio_PORT=",)),
    "as a bearer": ("GET /", (f"Authorization: Bearer {KEY}",)),
    "letters of no alphabet": ("GET /?token=%FF%FE", ("Cookie: dreambooth_studio_PORT=\xff",)),
}


@pytest.mark.parametrize("attack", TOKENS)
def test_without_the_key_nothing_is_seen(attack: str, locked: Served) -> None:
    first, headers = TOKENS[attack]
    headers = tuple(line.replace("PORT", str(locked.port)) for line in headers)
    status, answer = locked.raw(request(locked, first, *headers))
    assert status == 401 and b"set-cookie" not in answer.lower(), answer


def test_without_the_key_no_address_answers(locked: Served) -> None:
    for path in ("/static/home.js", "/api/runs", "/api/drafts", "/runs/x", "/api/runs/x/events", "/nowhere"):
        assert locked.raw(request(locked, f"GET {path}"))[0] == 401


def test_the_key_is_exchanged_once_for_a_cookie_that_no_script_reads(locked: Served) -> None:
    status, answer = locked.raw(request(locked, f"GET /?token={KEY}"))
    assert status == 200
    (line,) = re.findall(rb"(?im)^set-cookie: (.+)\r$", answer)
    assert {b"HttpOnly", b"SameSite=Strict", b"Path=/"} <= set(line.split(b"; "))
    assert KEY.encode() not in answer and b'http-equiv="refresh"' in answer
    cookie = line.split(b";")[0].decode()
    assert locked.raw(request(locked, "GET /api/runs", f"Cookie: {cookie}"))[0] == 200
    assert locked.raw(request(locked, "POST /api/drafts", f"Cookie: {cookie}", "Origin: null"))[0] == 403


def test_two_studios_on_one_machine_do_not_log_each_other_out(locked: Served, tmp_path: Path) -> None:
    cookies: dict[bytes, bytes] = {}  # as a browser keeps them: by host and name, whatever the port
    with serving(tmp_path, token=KEY[::-1]) as other:
        for studio, key in ((locked, KEY), (other, KEY[::-1])):
            answer = studio.raw(request(studio, f"GET /?token={key}"))[1]
            cookies |= dict(re.findall(rb"(?im)^set-cookie: ([^=]+)=([^;]+)", answer))
        line = b"Cookie: " + b"; ".join(b"=".join(pair) for pair in cookies.items())
        for studio in (locked, other):
            assert studio.raw(request(studio, "GET /api/runs", line.decode()))[0] == 200


UP = ("..", "%2e%2e", "..%2f", "%2e%2e%2f", "..\\", "%5c..", "....//", "%252e%252e", "%c0%ae%c0%ae", ".", "%00")
PLACES = (
    "/static/{}secret.txt",
    "/static/{}/secret.txt",
    "/runs/{}/secret.txt",
    "/api/runs/{}secret.txt",
    "/api/runs/victim/samples/{}/secret.png",
    "/api/runs/victim/samples/after/{}secret.png",
    "/api/runs/victim/adapter/{}secret.txt",
    "/api/runs/victim/export/{}.zip",
    "/api/drafts/{}/photos/x",
    "/drafts/{}",
)


@pytest.mark.parametrize("up", UP)
@pytest.mark.parametrize("path", PLACES)
def test_no_address_leads_out_of_the_folder(path: str, up: str, open_: Served) -> None:
    status, answer = open_.raw(request(open_, f"GET {path.format(up)}"))
    assert status in ((303, 404, 400) if path == "/drafts/{}" else (404, 400)), answer
    assert SECRET not in answer


LINKS = {
    "a sample that is a link": "/api/runs/victim/samples/after/link.png",
    "a small copy of it": "/api/runs/victim/samples/after/link.png?size=96",
    "a folder of samples that is a link": "/api/runs/victim/samples/own/secret.png",
    "a LoRA that is a link": "/api/runs/victim/adapter/link.safetensors",
    "a report that is a link": "/api/runs/victim/report",
    "a model that is a link": "/api/runs/victim/export/model.zip",
    "a run that is a link": "/api/runs/linked",
    "the studio's own folder": "/api/runs/.studio",
}


@pytest.mark.parametrize("attack", LINKS)
def test_links_are_not_followed(attack: str, open_: Served) -> None:
    status, answer = open_.raw(request(open_, f"GET {LINKS[attack]}"))
    assert status == 404 and SECRET not in answer
    assert {run["id"] for run in open_.ask("GET", "/api/runs")[1]} == {"victim"}


def upload(served: Served, draft: str, *headers: str) -> str:
    """The head of an upload."""
    lines = [f"POST /api/drafts/{draft}/photos HTTP/1.1", f"Host: 127.0.0.1:{served.port}", f"Origin: {served.origin}"]
    return "\r\n".join([*lines, "Content-Type: image/jpeg", *headers, "", ""])


@pytest.fixture
def draft(open_: Served) -> Iterator[str]:
    """A new draft, thrown away afterwards."""
    id = str(open_.ask("POST", "/api/drafts")[1]["id"])
    yield id
    folder = open_.root / ".studio" / "drafts" / id
    assert [file for file in folder.rglob("*") if file.parent.name == "incoming"] == [], "nothing is left half received"
    assert open_.ask("DELETE", f"/api/drafts/{id}")[0] == 200


def test_a_photo_that_says_it_is_too_large_is_refused_unread(open_: Served, draft: str) -> None:
    assert open_.raw(upload(open_, draft, f"Content-Length: {33 * 2**20}").encode())[0] == 413


@pytest.mark.parametrize("length", ["-1", "1e9", "abc", "0x10"])
def test_a_length_that_is_none_is_refused(length: str, open_: Served, draft: str) -> None:
    assert open_.raw(upload(open_, draft, f"Content-Length: {length}").encode())[0] == 400


def test_a_length_beside_chunks_is_refused_or_ends_the_connection(open_: Served, draft: str) -> None:
    text = upload(open_, draft, "Content-Length: 4", "Transfer-Encoding: chunked").encode() + b"0\r\n\r\nGET /"
    assert open_.raw(text)[1].count(b"HTTP/1.1 ") == 1, "nothing is smuggled"


def test_chunks_without_an_end_are_cut_off(open_: Served, draft: str) -> None:
    with socket.create_connection(("127.0.0.1", open_.port), timeout=20) as line:
        line.sendall(upload(open_, draft, "Transfer-Encoding: chunked").encode())
        block = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        try:
            for _ in range(40):
                line.sendall(block)
        except OSError:
            pass  # it was told and hung up
        line.settimeout(5)
        try:
            answer = line.recv(4096)
        except OSError:
            answer = b"HTTP/1.1 413 "
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_slow_upload_is_cut_off(open_: Served, draft: str) -> None:
    began = time.monotonic()
    status, _ = open_.raw(upload(open_, draft, "Content-Length: 100000").encode() + b"\xff\xd8\xff")
    assert status == 408 and time.monotonic() - began < 3


def test_an_upload_that_trickles_is_cut_off_in_all(open_: Served, draft: str) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", open_.port), timeout=20) as line:
        line.sendall(upload(open_, draft, "Content-Length: 100000").encode())
        answer = b""
        line.settimeout(0.2)
        while not answer and time.monotonic() - began < 10:
            try:
                line.sendall(b"x")
                answer = line.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
    assert answer.startswith(b"HTTP/1.1 408 ") and time.monotonic() - began < 6


@pytest.mark.parametrize("kind", ["text/html", "application/json", "multipart/form-data; boundary=x", ""])
def test_what_is_no_photo_by_its_own_word_is_refused(kind: str, open_: Served, draft: str) -> None:
    status, _ = open_.ask("POST", f"/api/drafts/{draft}/photos", b"x", {"content-type": kind})
    assert status == 415


class Hasty(Connection):
    """A connection that is not awaited for long."""

    patience = 0.5


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    """The port of a server of such connections, which takes a second to answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Hasty, log_level="error", timeout_graceful_shutdown=1, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


def is_closed(line: socket.socket, trickle: bytes = b"") -> bool:
    """Whether a connection is closed from there, whatever still comes from here."""
    line.settimeout(0.2)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            line.sendall(trickle)
            if not line.recv(4096):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def is_answered(line: socket.socket) -> bool:
    """Whether the answer comes."""
    answer = line.makefile("rb")
    while answer.readline().strip():
        pass
    return answer.read(2) == b"ok"


def test_a_connection_that_asks_for_nothing_whole_is_closed(hasty: int) -> None:
    with socket.create_connection(("127.0.0.1", hasty)) as line:
        assert is_closed(line)
    with socket.create_connection(("127.0.0.1", hasty)) as line:
        line.sendall(HEAD)
        assert is_closed(line, b"x: y\r\n")
    with socket.create_connection(("127.0.0.1", hasty), timeout=10) as line:
        line.sendall(HEAD + b"\r\n")
        assert is_answered(line)
        line.sendall(HEAD)
        assert is_closed(line, b"x: y\r\n"), "after an answer too"


def test_whoever_asks_is_answered_however_long_it_takes(hasty: int) -> None:
    with socket.create_connection(("127.0.0.1", hasty), timeout=10) as line:
        for _ in range(2):
            line.sendall(HEAD + b"\r\n")
            assert is_answered(line)
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        for _ in range(3):
            time.sleep(0.4)
            line.sendall(b"x")
        assert is_answered(line)


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BOMBS = {
    "a picture of ten thousand megapixels": bomb(100_000, 100_000),
    "a picture of one pixel": bomb(1, 1),
    "text that says it is a JPEG": b"\xff\xd8\xff" + b"x" * 1000,
    "a page": b"<!doctype html><script>alert(1)</script>",
    "an SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "a zip": b"PK\x03\x04" + bytes(200),
    "a pickle": b"\x80\x04\x95" + bytes(200),
    "nothing": b"",
    "a PNG that ends early": bomb(64, 64)[:60],
}


@pytest.mark.parametrize("attack", BOMBS)
def test_no_picture_is_refused_in_words_and_nothing_of_it_is_kept(attack: str, open_: Served, draft: str) -> None:
    began = time.monotonic()
    status, photo = open_.ask("POST", f"/api/drafts/{draft}/photos?name=../../x%0d%0a.html", BOMBS[attack])
    assert status == 200 and photo["refused"] and not photo["file"] and time.monotonic() - began < 5
    assert str(open_.root) not in json.dumps(photo) and "Traceback" not in json.dumps(photo)
    assert photo["name"] == "../../x.html", "it is shown, and no file is called so"
    assert open_.ask("GET", f"/api/drafts/{draft}/photos/{photo['id']}")[0] == 404


def test_more_photos_than_may_be_are_refused(open_: Served, draft: str) -> None:
    for _ in range(20):
        assert open_.ask("POST", f"/api/drafts/{draft}/photos", b"no picture")[0] == 200
    assert open_.ask("POST", f"/api/drafts/{draft}/photos", b"no picture")[0] == 409


def test_where_a_photo_was_taken_is_not_kept(open_: Served, draft: str) -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010F] = "a camera of mine"
    exif.get_ifd(0x8825)[1] = "N"
    Image.radial_gradient("L").convert("RGB").resize((1200, 1200)).save(buffer, format="JPEG", exif=exif)
    assert b"a camera of mine" in buffer.getvalue()
    status, photo = open_.ask("POST", f"/api/drafts/{draft}/photos", buffer.getvalue())
    assert status == 200 and photo["width"] == 1200
    kept = (open_.root / ".studio" / "drafts" / draft / "originals" / photo["file"]).read_bytes()
    assert b"a camera of mine" not in kept and b"Exif" not in kept


BODIES = {
    "no JSON": (b"{", 422),
    "a list": (b"[]", 422),
    "a field that is not known": (b'{"model": "/etc/passwd"}', 422),
    "a number for a word": (b'{"name": 7}', 422),
    "a word for a number": (b'{"max_train_steps": "9"}', 422),
    "a number out of bounds": (b'{"max_train_steps": 0}', 422),
    "no number": (b'{"max_train_steps": NaN}', 422),
    "a method that is none": (b'{"method": "--help"}', 422),
    "a base model that is none": (b'{"base": "../../etc"}', 422),
    "more than a name": (json.dumps({"name": "x" * 61}).encode(), 422),
    "a body of a photo's size": (json.dumps({"name": "x" * 70_000}).encode(), 413),
    "brackets without an end": (b"[" * 60_000, 400),
}


@pytest.mark.parametrize("attack", BODIES)
def test_a_body_that_is_not_as_agreed_is_refused(attack: str, open_: Served, draft: str) -> None:
    body, status = BODIES[attack]
    kind = "Content-Type: application/json"
    found, answer = open_.raw(request(open_, f"PATCH /api/drafts/{draft}", "Origin: ORIGIN", kind, body=body))
    assert found == status and b"Traceback" not in answer, answer


METHODS = ("TRACE /", "PUT /", "CONNECT /", "OPTIONS /api/runs", "DELETE /api/runs/victim", "POST /static/home.js")


@pytest.mark.parametrize("first", METHODS)
def test_other_methods_do_nothing(first: str, open_: Served) -> None:
    assert open_.raw(request(open_, first, "Origin: ORIGIN"))[0] in (405, 404, 400)


def test_addresses_that_are_none(open_: Served) -> None:
    assert open_.raw(request(open_, f"GET /{'x' * 3000}"))[0] == 414
    assert open_.raw(request(open_, "GET /%0d%0aset-cookie:x"))[0] == 400
    assert open_.raw(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n x: y\r\n\r\n")[0] in (400, 403)
    assert open_.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")[0] in (0, 400)
    assert open_.raw(request(open_, "GET /", "x-large: " + "x" * 50_000))[0] == 431


def test_a_web_socket_is_not_opened(open_: Served) -> None:
    headers = ("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    answer = open_.raw(request(open_, "GET /api/runs", *headers))[1]
    assert not answer.startswith(b"HTTP/1.1 101")


def test_every_answer_says_what_the_page_may_do(open_: Served) -> None:
    for path in ("/", "/static/home.js", "/api/runs", "/nowhere", "/drafts/x", "/api/runs/victim/report"):
        head = open_.raw(request(open_, f"GET {path}"))[1].split(b"\r\n\r\n")[0].lower().decode()
        policy = re.findall(r"content-security-policy: (.+)", head)
        assert len(policy) == 1 and "default-src 'none'" in policy[0] and "unsafe" not in policy[0], path
        assert "data:" not in policy[0] and "*" not in policy[0] and "frame-ancestors 'none'" in policy[0]
        assert "x-content-type-options: nosniff" in head and "referrer-policy: no-referrer" in head
        assert "access-control-allow-origin" not in head


def test_the_pages_have_no_script_and_no_style_in_them(open_: Served) -> None:
    for path in ("/", "/runs/victim", "/compare"):
        text = open_.raw(request(open_, f"GET {path}"))[1].decode()
        assert not re.search(r"<script(?! type=\"module\" src=\"/static/)|<style|style=|\son\w+=|https?://", text), path


def test_names_are_shown_as_they_are_and_start_no_flag(open_: Served, jpegs: list[bytes]) -> None:
    draft = drafted(open_, jpegs, "<img src=x onerror=alert(1)>")
    assert open_.ask("PATCH", f"/api/drafts/{draft}", {"noun": "--help"})[0] == 200
    status, answer = open_.ask("POST", f"/api/drafts/{draft}/start")
    assert status == 200 and re.fullmatch(r"img-src-x-onerror-alert-1", answer["run"])
    view = open_.until(lambda its: its["state"] == "finished", answer["run"])
    assert view["noun"] == "--help"
    page = open_.raw(request(open_, f"GET /runs/{answer['run']}"))[1]
    assert b"<img src=x" not in page and b"&lt;img src=x" in page
