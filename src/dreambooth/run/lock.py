"""One writer at a time: a lock that the system itself takes back when its holder ends, however it ends.

So no process number is ever asked whether it lives: it may be another's by now, or one of another container. The file
says who holds it, for the people who read the message.
"""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dreambooth.errors import RunError
from dreambooth.support.progress import log

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What systems say of a lock that another has."""


@contextmanager
def locked(file: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold `file`'s lock; raises RunError, with who has it, where another still does after `patience` seconds.

    A disk without locks is told in a warning. Processes of two machines exclude each other where their shared disk has
    locks for all of them, as NFS has; where the file was left by another machine, that is told too.
    """
    until = time.monotonic() + patience
    while (handle := _taken(file)) is None:
        if time.monotonic() > until:
            raise RunError(
                f"{file.parent} is in use by {_holder(file) or 'another process'}: wait for it, or choose another "
                "--output-dir."
            )
        time.sleep(0.1)
    try:
        before = _holder(file)
        if before and not before.endswith(f" on {socket.gethostname()}"):
            log.warning(
                "%s was left by %s. If that still runs, this disk has no locks between machines: stop one of the two.",
                file,
                before,
            )
        with suppress(OSError):  # on a full disk the lock holds as well
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        with suppress(OSError):  # while it is held: who waits sees that it has another file and tries again
            file.unlink(missing_ok=True)
        os.close(handle)


def _taken(file: Path) -> int | None:
    """An open file that holds the lock; None where another process has it."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _TAKEN:
                os.close(handle)
                return None
            log.warning("the disk of %s has no locks (%s): start no second process on this run", file, error.strerror)
        if _is_there(handle, file):
            return handle
        os.close(handle)  # its holder has just ended and removed it


def _is_there(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(file: Path) -> str | None:
    """Who wrote the file, in words; None where it does not say."""
    try:
        payload = json.loads(file.read_text(encoding="utf-8"))
        return f"process {int(payload['process'])} on {payload['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return None
