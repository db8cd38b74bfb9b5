"""A place for results beside this machine's disk: a bucket, or whatever else fsspec opens by its URL."""

import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.registry import known_implementations

from dreambooth.errors import ConfigError, DiskError, DreamBoothError, in_words
from dreambooth.support.files import at_home, atomic_write
from dreambooth.support.spelling import suggestion

EXTRAS = {"s3fs": "'dreambooth[s3]'"}
"""What to install for a library that an extra of this package has."""

WITH_FOLDERS = ("file", "local", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs")
"""Protocols where a folder is made before its files. On S3 the same call would make a bucket that is missing."""

CHUNK = 1 << 24
"""Bytes that are read at a time."""

_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|_KEY$")
"""Names of environment variables whose values no message may have."""


@dataclass(frozen=True)
class Storage:
    """A folder that every machine reaches by the same URL, such as "s3://bucket/folder"; names are seen from it.

    It keeps no credentials: each process finds those of its own environment. What a service refuses is a DiskError.
    """

    url: str

    @classmethod
    def at(cls, place: str) -> "Storage":
        """The storage at a URL, or in a folder of this machine.

        Raises ConfigError where fsspec knows no such protocol or its library is not installed, or where the URL has a
        password in it.
        """
        if not place.strip():
            raise ConfigError(["--storage: is empty: give a URL such as s3://bucket/folder, or a folder"])
        protocol, separator, rest = place.partition("://")
        if not separator:
            if slip := re.match(r"(\w{2,}):/*", place):
                rest = place.removeprefix(slip[0])
                raise ConfigError(
                    [f"--storage {place}: write {slip[1]}://{rest}, or ./{place} for a folder of this machine"]
                )
            return cls(at_home(place).absolute().as_posix())
        if "@" in rest.partition("/")[0] or "?" in rest:
            problem = (
                f"--storage {protocol}://…: leave user, password and keys out of the URL, which lists of processes "
                "show: give them by the environment or in ~/.config/fsspec"
            )
            raise ConfigError([problem])
        try:
            fsspec.get_filesystem_class(protocol)
        except ValueError as error:
            near = suggestion(protocol, known_implementations) or "Such as s3://bucket/folder, gs://bucket/folder."
            raise ConfigError([f"--storage {place}: fsspec knows no {protocol}://. {near}"]) from error
        except ImportError as error:
            library = known_implementations[protocol]["class"].partition(".")[0]
            what = EXTRAS.get(library, library)
            raise ConfigError([f"--storage {place}: {protocol}:// needs {library}: pip install {what}"]) from error
        return cls(place.rstrip("/"))

    def check(self) -> None:
        """Write a small file, read it and remove it; raises DiskError where any of that is refused."""
        name = f".probe-{uuid.uuid4().hex[:8]}"
        self.write(name, b"dreambooth")
        with self._told("read"):
            self._fs.cat_file(self._path(name))
            self._fs.rm_file(self._path(name))

    def put(self, file: Path, name: str) -> None:
        """Upload a file; one of that name is replaced."""
        with self._told("written"):
            self._make_folder(name)
            self._fs.put_file(str(file), self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, which is whole or not there: services do so by themselves, folders by renaming."""
        path, fs = self._path(name), self._fs
        with self._told("written"):
            if not self._has_folders:
                fs.pipe_file(path, content)
                return
            aside = f"{path}.{uuid.uuid4().hex[:8]}.part"
            self._make_folder(name)
            fs.pipe_file(aside, content)
            if fs.exists(path):
                fs.rm_file(path)
            fs.mv(aside, path)

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The content of small files, many at a time; those that are not there are left out."""
        paths = {self._path(name): name for name in names}
        with self._told("read"):
            found: Mapping[str, Any] = self._fs.cat([*paths], on_error="return") if paths else {}
            refused = [its for its in found.values() if isinstance(its, Exception)]
            if others := [error for error in refused if not isinstance(error, FileNotFoundError)]:
                raise others[0]
        return {name: found[path] for path, name in paths.items() if isinstance(found.get(path), bytes)}

    def fetch(self, name: str, file: Path) -> None:
        """Download a file, which is whole or not there."""
        with self._told("read"), atomic_write(file) as aside:
            self._fs.get_file(self._path(name), str(aside))

    def sizes(self, folder: str) -> dict[str, int]:
        """The bytes of every file below a folder, by its path in it; none where there is no such folder."""
        above = self._path(folder)
        with self._told("read"):
            try:
                found: Mapping[str, Any] = self._fs.find(above, detail=True)
            except FileNotFoundError:
                return {}
        return {path.removeprefix(f"{above}/"): int(its["size"]) for path, its in found.items()}

    def sha256(self, name: str) -> str:
        """The SHA-256 of a file's content, which is read for it."""
        with self._told("read"), self._fs.open(self._path(name), "rb", block_size=CHUNK) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @property
    def _fs(self) -> Any:  # fsspec keeps one for each process
        return url_to_fs(self.url, use_listings_cache=False)[0]

    def _path(self, name: str) -> str:
        root: str = self._fs._strip_protocol(self.url)
        return f"{root}/{name}"

    @property
    def _has_folders(self) -> bool:
        protocol = self._fs.protocol
        return (protocol if isinstance(protocol, str) else protocol[0]) in WITH_FOLDERS

    def _make_folder(self, name: str) -> None:
        if self._has_folders:
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Inside, whatever a library raises is a DiskError in one sentence, without any secret."""
        try:
            yield
        except DreamBoothError:
            raise
        except Exception as error:  # each service has exceptions of its own
            raise DiskError(f"the storage {self.url} cannot be {done}: {_sentence(error)}") from None


def opened(place: str) -> Storage:
    """The storage at a URL or in a folder, tried; raises ConfigError and DiskError as `at` and `check` do."""
    storage = Storage.at(place)
    storage.check()
    return storage


def _sentence(error: Exception) -> str:
    kind, said = type(error).__name__, _without_secrets(str(error).strip().partition("\n")[0]).rstrip(".")
    if "Credentials" in kind or (isinstance(error, PermissionError) and error.filename is None):
        return (
            f"no credentials, or they do not allow it ({said or kind}). Each machine needs its own: for S3 by "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, by ~/.aws/credentials, or by the machine's role."
        )
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return f"there is no such bucket or folder ({said or kind}): make it, or correct the name."
    if isinstance(error, OSError) and error.filename is not None and (sentence := in_words(error)):
        return sentence
    return f"{said or kind} ({kind}). Is its address right, and does this machine reach it?"


def _without_secrets(text: str) -> str:
    """`text` without the values of the environment's secrets, and without the query of a signed URL."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name):
            text = text.replace(value, "…")
    return re.sub(r"\?\S*", "", text)
