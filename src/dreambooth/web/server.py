"""`dreambooth web`: the studio on an address of this machine, or with a key on others."""

import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dreambooth.errors import DreamBoothError, RunError
from dreambooth.run.lock import locked
from dreambooth.support.progress import log
from dreambooth.web.app import create
from dreambooth.web.queue import Queue
from dreambooth.web.studio import Studio

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TOKEN = "DREAMBOOTH_WEB_TOKEN"
"""The environment variable with the key; without it every start makes a new one."""
SHORTEST_TOKEN = 16


def serve(root: Path, host: str, port: int, names: Sequence[str] = (), own_models: Sequence[str] = ()) -> None:
    """Serve the runs below `root` until Ctrl-C; jobs that run go on, and are found again at the next start.

    names: further names by which browsers may call this server.  own_models: as --model takes them, to be offered.
    Raises DreamBoothError where the address is taken or another studio has the folder.
    """
    import uvicorn

    from dreambooth.web.connections import Connection

    token = _token() if host not in LOOPBACK or os.environ.get(TOKEN) else None
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    studio = Studio(root)
    try:
        with locked(studio.own / ".lock"):
            queue = Queue(studio)
            app = create(studio, queue, allowed_hosts(host, port, names), token, own_models=own_models)
            print(f"The studio is open at  {link(host, port, token)}\nIts runs are in        {studio.root}", flush=True)
            if token:
                log.warning("whoever has this link can use this machine: it is not encrypted, so trust the network.")
            config = uvicorn.Config(
                app,
                http=Connection,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=20,
                timeout_graceful_shutdown=1,
                limit_concurrency=1000,
                ws="none",
            )
            with suppress(KeyboardInterrupt):  # it has ended by then
                uvicorn.Server(config).run(sockets=[listening])
            print("The studio is closed; what runs goes on.")
    except RunError as error:
        raise RunError(f"another studio is open on {studio.root}: use that one, or give another folder.") from error
    finally:
        listening.close()


def allowed_hosts(host: str, port: int, names: Sequence[str] = ()) -> frozenset[str]:
    """What a browser's Host header may be: this machine's names and addresses, each with the port; and `names`.

    names: also as a proxy on the usual ports has them; one with a port of its own as it is.
    """
    mine = {"127.0.0.1", "localhost", "[::1]"}
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
        mine |= {name, f"{name}.local", *_addresses()}
    elif host not in LOOPBACK:
        mine.add(f"[{host}]" if ":" in host else host)
    found = {f"{name}:{port}" for name in mine} | (mine if port == 80 else set())
    for name in names:
        found |= _proxied(name, port)
    return frozenset(name.lower() for name in found)


def _proxied(name: str, port: int) -> set[str]:
    """A name as it may stand in a Host header that went through a proxy."""
    name = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
    plain, colon, own = name.rpartition(":")
    if not colon or not own.isdigit():
        return {name, f"{name}:443", f"{name}:{port}"}
    return {name, plain} if own in ("80", "443") else {name}  # which browsers leave out


def link(host: str, port: int, token: str | None) -> str:
    """What to open; from other machines by this one's address."""
    if host in ("0.0.0.0", "::"):
        host = next(iter(_addresses()), "localhost")
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def _token() -> str:
    given = os.environ.get(TOKEN)
    if given is None:
        return secrets.token_urlsafe(32)
    if len(given) < SHORTEST_TOKEN or not given.isascii() or not given.isprintable() or set(given) & set("&?#%+ "):
        raise DreamBoothError(
            f"{TOKEN} must have {SHORTEST_TOKEN} letters or more, without spaces and &?#%+: leave it out, and a good "
            "one is made."
        )
    return given


def _addresses() -> list[str]:
    """This machine's address as others reach it: that which a packet to them would leave from; none is sent."""
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return [f"[{address}]" if ":" in address else address for address in found]


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise DreamBoothError(
            f"{host}:{port} cannot be listened to ({error.strerror or error}): give another --port, or --port 0 for "
            "any that is free."
        ) from error
