"""A studio that listens on this machine, with the fake trainer for its command line."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

FAKE = (sys.executable, str(Path(__file__).parent / "fake_trainer.py"))
KEY = "a-key-of-more-than-sixteen-letters"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A studio that answers at a port."""

    root: Path
    port: int
    cookie: str = ""

    @property
    def origin(self) -> str:
        """Its page's own."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of a request as the page makes it; bytes are sent as a photo."""
        kind = "image/jpeg" if isinstance(body, bytes) else "application/json"
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"origin": self.origin, **({"content-type": kind} if content is not None else {})}
        given |= {"cookie": self.cookie} if self.cookie else {}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, content, {**given, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else text

    def raw(self, text: bytes, patience: float = 10.0) -> tuple[int, bytes]:
        """Status and whole answer to what is sent as it is; 0 where the connection is closed without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as line:
            line.sendall(text)
            parts = []
            try:
                while part := line.recv(65536):
                    parts.append(part)
            except (TimeoutError, ConnectionResetError):
                pass
        answer = b"".join(parts)
        return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0), answer

    def until(self, told: Callable[[dict[str, Any]], bool], run: str, seconds: float = 180.0) -> dict[str, Any]:
        """A run's view once it is as was waited for."""
        end = time.monotonic() + seconds
        view: dict[str, Any] = {}
        while time.monotonic() < end:
            status, view = self.ask("GET", f"/api/runs/{run}")
            if status == 200 and told(view):
                return view
            time.sleep(0.05)
        raise AssertionError(f"it says {view}")


@contextmanager
def serving(root: Path, token: str | None = None, command: tuple[str, ...] = FAKE, **settings: Any) -> Iterator[Served]:
    """A studio in this process; environment: of its jobs, the others are those of `create`."""
    import uvicorn

    from dreambooth.web.app import create
    from dreambooth.web.queue import Queue
    from dreambooth.web.server import allowed_hosts
    from dreambooth.web.studio import Studio

    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    studio = Studio(root)
    queue = Queue(studio, command, ("",), settings.pop("environment", {"FAKE_STEP": "0.01"}))
    app = create(studio, queue, allowed_hosts("127.0.0.1", port), token, **settings)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        cookie = f"dreambooth_studio_{port}={app.rules.cookie}" if token else ""
        yield Served(root=root, port=port, cookie=cookie)
    finally:
        server.should_exit = True
        thread.join(10)
        for child in queue._children.values():
            child.returncode = 0  # it goes on: Python warns of a process that is forgotten while it runs


def drafted(served: Served, jpegs: list[bytes], name: str = "Rex", steps: int = 12) -> str:
    """A draft that can be started."""
    draft = str(served.ask("POST", "/api/drafts")[1]["id"])
    for number, jpeg in enumerate(jpegs):
        status, photo = served.ask("POST", f"/api/drafts/{draft}/photos?name=IMG_{number}.jpg", jpeg)
        assert (status, photo["refused"]) == (200, "")
    wishes = {"name": name, "noun": "dog", "base": "toybox", "max_train_steps": steps}
    status, shown = served.ask("PATCH", f"/api/drafts/{draft}", wishes)
    assert (status, shown["problems"]) == (200, [])
    return draft


def started(served: Served, jpegs: list[bytes], name: str = "Rex", steps: int = 12) -> str:
    """A run that was started."""
    status, answer = served.ask("POST", f"/api/drafts/{drafted(served, jpegs, name, steps)}/start")
    assert status == 200, answer
    return str(answer["run"])
