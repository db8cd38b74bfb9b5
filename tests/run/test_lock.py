"""The lock on Windows, by a stand-in for its module msvcrt; on this system tests/run/test_folder.py tries it."""

import subprocess
import sys
from pathlib import Path

import pytest

AS_ON_WINDOWS = """
import errno, fcntl, os, struct, sys
from pathlib import Path
from types import SimpleNamespace
from dreambooth.errors import RunError
from dreambooth.run import lock

def locking(handle, mode, length):
    assert (mode, length) == (3, 1)
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_CUR, 0, length, 0)
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, wanted)
    except OSError:
        raise PermissionError(errno.EACCES, "Permission denied") from None

def unlink(path, missing_ok=False):
    raise PermissionError(errno.EACCES, "it is open", str(path))

sys.modules["msvcrt"] = SimpleNamespace(LK_NBLCK=3, locking=locking)
sys.modules["fcntl"] = None
lock.sys = SimpleNamespace(platform="win32")
Path.unlink = unlink
file = Path(sys.argv[1]) / ".lock"
"""
WRITER = """
mine = file.parent / f"writer-{sys.argv[2]}"
for trial in range(25):
    with lock.locked(file, patience=60):
        mine.touch()
        if len(list(file.parent.glob("writer-*"))) > 1:
            print("two writers")
        os.remove(mine)
print("done")
"""
SECOND = """
with lock.locked(file):
    try:
        with lock.locked(file):
            print("two writers")
    except RunError as error:
        print(f"in use by process {os.getpid()}" in str(error))
with lock.locked(file):
    print("free again", file.exists())
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stand-in uses locks of Linux")


def told(code: str, *words: str) -> "subprocess.Popen[str]":
    """A process that runs `code` with the stand-in."""
    command = [sys.executable, "-c", AS_ON_WINDOWS + code, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_windows_locks_a_byte_that_nobody_reads_and_keeps_the_file(tmp_path: Path) -> None:
    assert told(SECOND, str(tmp_path)).communicate()[0] == "True\nfree again True\n"


def test_there_are_never_two_writers_on_windows(tmp_path: Path) -> None:
    running = [told(WRITER, str(tmp_path), str(number)) for number in range(3)]
    assert [process.communicate()[0] for process in running] == ["done\n"] * 3
