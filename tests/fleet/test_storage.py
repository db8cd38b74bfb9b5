"""Results of a fleet in a storage: whole or unfinished, sent once, found from any machine, and no secret told."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dreambooth import __version__, cli
from dreambooth.data.photos import content_of
from dreambooth.errors import RunError
from dreambooth.fleet import read_manifest
from dreambooth.fleet.conduct import NOT_THERE, report
from dreambooth.fleet.photos import at_hand, send_photos
from dreambooth.support.files import sha256
from dreambooth.support.storage import Storage
from fleets import SUBJECTS, finished, manifest, rows, words

TWO = {name: SUBJECTS[name] for name in ("rex", "tom")}

KILLED = """
import os, signal, sys
from pathlib import Path
from dreambooth import __version__, cli
from dreambooth.support.storage import Storage
whole, sent = Storage.put, []
def put(self, file, name):
    sent.append(name)
    if len(sent) == 4:
        Path(self.url, name).write_bytes(file.read_bytes()[:-1])
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, file, name)
Storage.put = put
cli.main(sys.argv[1:], __version__)
"""
"""The command line, killed in the middle of its fourth file."""


@pytest.fixture(autouse=True)
def _two(place: Path) -> None:
    manifest(place, TWO)


@pytest.fixture
def here(out: Path, tmp_path: Path) -> Path:
    """The local folder of a machine where both subjects are carried out, and nothing is uploaded."""
    for name in TWO:
        folder = rows(out)[name]["folder"]
        shutil.copytree(out / folder, tmp_path / "here" / folder)
    return tmp_path / "here"


def results(run: Path) -> dict[str, str]:
    """The SHA-256 of what is to be in the storage."""
    files = {file.relative_to(run).as_posix(): file for file in run.rglob("*") if file.is_file()}
    return {name: sha256(file) for name, file in files.items() if not name.startswith(("checkpoints/", "best/", "."))}


def test_an_upload_that_was_killed_is_not_taken_for_finished_and_its_files_are_sent_once(
    place: Path, out: Path, here: Path, tmp_path: Path
) -> None:
    there, command = tmp_path / "there", words(place, here, "--storage", str(tmp_path / "there"))
    weights = next((here / rows(out)["tom"]["folder"] / "model").rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")  # this model is made anew, not uploaded
    assert subprocess.run([sys.executable, "-c", KILLED, *command], stderr=subprocess.DEVNULL).returncode == -9
    halves = {file: file.stat().st_mtime_ns for file in there.rglob("*") if file.is_file()}
    assert len(halves) == 4 and not (there / "finished").exists()
    assert cli.main(command, __version__) == 0
    same = [file for file, when in halves.items() if file.stat().st_mtime_ns == when]
    assert len(same) == 3
    for name in TWO:
        folder = rows(out)[name]["folder"]
        stored = results(there / folder)
        assert stored.pop("strip.json") and stored == results(here / folder)
        assert {"report.html", "config.toml", "status.json", "model/model_index.json"} <= stored.keys()
        marker = json.loads((there / "finished" / f"{folder}.json").read_text())
        assert {file: its["sha256"] for file, its in marker["files"].items()} == stored
    mended = there / weights.relative_to(here)
    assert sha256(mended) == sha256(out / weights.relative_to(here))
    assert {row["state"] for row in rows(there).values()} == {"finished"}
    page = (there / "fleet.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 2 * 3 and f'href="{rows(out)["rex"]["folder"]}/report.html"' in page


def test_what_the_storage_has_is_skipped_on_a_machine_that_has_nothing(
    place: Path,
    out: Path,
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = ("--storage", "memory://fleet")
    assert cli.main(words(place, here, *there), __version__) == 0
    before = rows(here)
    manifest(place, {**TWO, "fido": SUBJECTS["fido"]})
    with monkeypatch.context() as reader:
        reader.setattr(Storage, "write", None)  # whoever lists may have the right to read alone
        assert cli.main(words(place, tmp_path / "new", *there, "--list"), __version__) == 0
    assert "3 subjects, 1 to do" in capsys.readouterr().out and not (tmp_path / "new").exists()
    assert cli.main(words(place, tmp_path / "new", *there), __version__) == 0
    assert [name.partition("-")[0] for name in finished(tmp_path / "new")] == ["fido"]
    after = rows(tmp_path / "new")
    assert {name: after[name] for name in before} == before and after["fido"]["state"] == "finished"
    assert (tmp_path / "new" / "fleet.html").read_text(encoding="utf-8").count("data:image/webp") == 3 * 3
    storage = Storage.at("memory://fleet")
    storage.write(f"finished/{after['rex']['folder']}.json", b"{")
    assert cli.main(words(place, tmp_path / "third", *there), __version__) == 2
    assert "json is damaged: delete it, and give the command again" in capsys.readouterr().err


def test_who_ended_well_and_left_nothing_in_the_storage_has_failed(place: Path, tmp_path: Path) -> None:
    members = read_manifest(place / "subjects.toml", {})
    told = report(members, tmp_path, {members[0].folder: None}, Storage.at(str(tmp_path / "there")))
    assert [(its.state, its.reason) for its in told] == [("failed", NOT_THERE), ("waiting", "")]


def test_photos_reach_a_machine_that_does_not_see_them(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "rex" / "1.png").rename(tmp_path / "photos" / "rex" / "1[b].png")
    (tmp_path / "photos" / "rex" / "1[b].mask.png").write_bytes(b"a mask")
    rex, tom = read_manifest(manifest(tmp_path, TWO), {})
    storage = Storage.at(str(tmp_path / "there"))
    send_photos([rex], storage)
    assert at_hand(rex, tmp_path / "node", storage) is rex
    shutil.rmtree(tmp_path / "photos")
    here = at_hand(rex, tmp_path / "node", storage)
    assert [content_of(here.subject.photos), here.folder] == [
        {"0.png": sha256(place / "photos" / "rex" / "0.png"), "1[b].png": sha256(place / "photos" / "rex" / "1.png")},
        rex.folder,
    ]
    assert (here.subject.photos[0].parent / "1[b].mask.png").read_bytes() == b"a mask"
    with pytest.raises(RunError, match=r"the photos of tom are neither at .*/photos/tom on this machine nor in"):
        at_hand(tom, tmp_path / "node", storage)
    (tmp_path / "there" / "photos" / rex.folder / "0.png").write_bytes(b"another")
    with pytest.raises(RunError, match="the photos of rex are neither"):
        at_hand(rex, tmp_path / "node", storage)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s33://bucket", "fsspec knows no s33://. Did you mean s3?"),
        ("s3:/bucket", "write s3://bucket, or ./s3:/bucket for a folder of this machine"),
        ("gs://bucket/folder", "gs:// needs gcsfs: pip install gcsfs"),
        ("ftp://me:hunter2@host/folder", "leave user, password and keys out of the URL"),
        ("s3://bucket/x?versionId=hunter2", "leave user, password and keys out of the URL"),
        ("", "--storage: is empty"),
        ("file:///proc/nowhere", "the storage file:///proc/nowhere cannot be written: /proc/nowhere:"),
    ],
)
def test_a_storage_that_cannot_be_is_told_before_anything_else(
    url: str, says: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if url.startswith("gs") and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    assert cli.main(words(place, tmp_path / "here", "--storage", url), __version__) == 2
    printed = capsys.readouterr().err
    assert says in printed and "hunter2" not in printed and "Traceback" not in printed
    assert not (tmp_path / "here").exists()


SECRET = "not-to-be-seen-anywhere"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 on this machine, which asks for no rights yet."""
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3 = pytest.importorskip("boto3")
    yield boto3.client("s3", aws_access_key_id="a-person", aws_secret_access_key="s")
    running.stop()


@pytest.mark.filterwarnings("ignore")  # a server and a client of others, in this process
def test_a_bucket_of_s3_gets_each_file_once_and_says_what_it_refuses(
    client: Any,
    place: Path,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused() -> str:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # it has the credentials that it found first
        assert cli.main(words(place, tmp_path / "new", "--storage", "s3://bucket/a fleet"), __version__) == 2
        return capsys.readouterr().err

    assert "no credentials, or they do not allow it" in refused()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-person")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert "there is no such bucket or folder (The specified bucket does not exist)" in refused()
    client.create_bucket(Bucket="bucket")
    with monkeypatch.context() as asking:
        asking.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        assert "do not allow it (The AWS Access Key Id you provided does not exist in our records)" in refused()
    sent = counted(monkeypatch, stop_at=6)
    assert cli.main(words(place, here, "--storage", "s3://bucket/a fleet"), __version__) == cli.STOPPED
    first = list(sent)
    assert len(first) == 6 and not client.list_objects_v2(Bucket="bucket", Prefix="a fleet/finished/")["KeyCount"]
    assert cli.main(words(place, here, "--storage", "s3://bucket/a fleet"), __version__) == 0
    tried = first.pop()
    assert not set(first) & set(sent[6:]) and tried in sent[6:] and len(set(sent[6:])) == len(sent[6:])
    for folder in finished(here):
        for name, digest in results(here / folder).items():
            body = client.get_object(Bucket="bucket", Key=f"a fleet/{folder}/{name}")["Body"].read()
            (tmp_path / "body").write_bytes(body)
            assert sha256(tmp_path / "body") == digest, name
    said = capsys.readouterr()
    assert "s3://bucket/a fleet/fleet.html" in said.out
    logs = "".join(file.read_text() for file in here.rglob("logs/*.txt"))
    assert SECRET not in said.out + said.err + logs


def counted(monkeypatch: pytest.MonkeyPatch, stop_at: int) -> list[str]:
    """The names of the files that are sent; Ctrl-C comes in place of one of them."""
    sent: list[str] = []
    whole: Callable[[Storage, Path, str], None] = Storage.put

    def put(self: Storage, file: Path, name: str) -> None:
        if "/" in name:  # of a subject, not the fleet's page
            sent.append(name)
            if len(sent) == stop_at:
                raise KeyboardInterrupt
        whole(self, file, name)

    monkeypatch.setattr(Storage, "put", put)
    return sent
