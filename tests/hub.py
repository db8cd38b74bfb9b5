"""A stand-in of the hub on this machine: what huggingface_hub asks for while it makes a repository and fills it.

As https://huggingface.co/docs/hub/api and the Git LFS batch protocol have it; weights go by LFS, other files in the
commit itself.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_stand_in"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What was asked of it. files: those of the last commit.  created: repositories, with what was asked of each.

    denies: the status, the error code and the message with which every file is refused.  published: the files of each
    repository, at COMMIT; of one that nobody should read its size alone.  read: those that were downloaded.  silent:
    whether it refuses to say what a repository holds.  private: whether what is created was there before as private.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    refuses: bool = False
    denies: tuple[int, str, str] | None = None
    published: dict[str, dict[str, bytes | int]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    silent: bool = False
    private: bool = True

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def hub() -> Iterator[Hub]:
    """Inside, it answers."""
    its = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(its))
    its.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield its
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(its: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, content: object, status: int = 200, error: str = "", says: str = "") -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            for name, value in {"x-error-code": error, "x-error-message": says}.items():
                if value:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            if self.headers.get("transfer-encoding", "") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("content-length") or 0))

        def do_PUT(self) -> None:
            its.stored[self.path.rpartition("/")[2]] = self.body()
            self.answer({})

        def do_GET(self) -> None:
            if its.denies:
                status, code, says = its.denies
                self.answer({"error": says}, status, code, says)
                return
            if its.published:
                self.answer_of_published()
                return
            about = {"id": "somebody/my-dog", "siblings": [], "sha": "0" * 40, "name": "somebody"}
            self.answer(about | {"private": its.private})

        def answer_of_published(self) -> None:
            """Of /api/models/OWNER/NAME/... what is there, of /OWNER/NAME/resolve/REVISION/FILE the file."""
            words = self.path.partition("?")[0].strip("/").split("/")
            listing = words[:2] == ["api", "models"]
            owner, name = words[2:4] if listing else words[:2]
            files = its.published.get(f"{owner}/{name}")
            if files is None:
                self.answer({"error": "Repository not found"}, 404, "RepoNotFound")
            elif listing and its.silent:
                self.answer({"error": "try again later"}, 500)
            elif listing:
                sizes = {file: its_ if isinstance(its_, int) else len(its_) for file, its_ in files.items()}
                siblings = [{"rfilename": file, "size": size} for file, size in sizes.items()]
                self.answer({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": siblings})
            elif (file := "/".join(words[4:])) not in files:
                self.answer({"error": "Entry not found"}, 404, "EntryNotFound")
            else:
                self.answer_file(f"{owner}/{name}/{file}", files[file])

        def answer_file(self, name: str, content: bytes | int) -> None:
            size = content if isinstance(content, int) else len(content)
            self.send_response(200)
            for header, value in {"etag": f'"{size}"', "x-repo-commit": COMMIT, "content-length": str(size)}.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command != "HEAD":
                its.read.append(name)
                self.wfile.write(b"" if isinstance(content, int) else content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            text = self.body()
            if self.path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif its.refuses or self.headers.get("authorization") != f"Bearer {TOKEN}":
                self.answer({"error": "Invalid username or password."}, 401)
            elif self.path == "/api/repos/create":
                wanted = json.loads(text)
                name = "/".join(part for part in (wanted.get("organization", "somebody"), wanted["name"]) if part)
                its.created[name] = wanted
                self.answer({"url": f"{its.endpoint}/{name}", "name": name, "id": name})
            elif self.path.endswith("/preupload/main"):
                files = [its_["path"] for its_ in json.loads(text)["files"]]
                modes = [
                    {"path": name, "uploadMode": _mode(name), "shouldIgnore": False, "oid": None} for name in files
                ]
                self.answer({"files": modes})
            elif self.path.endswith("/info/lfs/objects/batch"):
                wanted = json.loads(text)["objects"]
                uploads = [{"upload": {"href": f"{its.endpoint}/lfs/{each['oid']}"}} for each in wanted]
                objects = [{**each, "actions": way} for each, way in zip(wanted, uploads, strict=True)]
                self.answer({"transfer": "basic", "objects": objects})
            elif self.path.endswith("/commit/main"):
                for line in map(json.loads, text.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        its.files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        its.files[value["path"]] = its.stored[value["oid"]]
                self.answer(
                    {
                        "commitUrl": f"{its.endpoint}/somebody/my-dog/commit/{'1' * 40}",
                        "commitOid": "1" * 40,
                        "success": True,
                    }
                )
            else:
                self.answer({"error": f"{self.path} is not known to the stand-in"}, 404)

    return Handler


def _mode(name: str) -> str:
    return "lfs" if name.endswith(".safetensors") else "regular"
