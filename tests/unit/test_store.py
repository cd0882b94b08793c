"""The store: an artifact with a record is whole, whatever happened while it was made."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from sana_bench.errors import StoreError
from sana_bench.store import Store, copy_files, digest_of, read_record, sha256_file, write_bytes, write_record


class Note(BaseModel):
    text: str
    number: int = 0


def test_what_is_finished_is_found_and_nothing_else(tmp_path: Path) -> None:
    store, note = Store(tmp_path), Note(text="ä\n", number=3)
    assert store.find("notes", "abc", Note) is None
    store.finish("notes", "abc", note)
    assert store.find("notes", "abc", Note) == Store(tmp_path).find("notes", "abc", Note) == note
    assert store.find("notes", "abd", Note) is None and store.find("other", "abc", Note) is None


def test_a_folder_without_a_record_is_work_in_progress(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_bytes(store.folder("images", "abc") / "one.png", b"half of the work")
    assert store.find("images", "abc", Note) is None
    store.finish("images", "abc", Note(text="done"))
    assert (store.folder("images", "abc") / "one.png").read_bytes() == b"half of the work"


def test_a_write_that_fails_leaves_the_old_file_and_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_bytes(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StoreError, match="No space left on device.*nothing that was there is lost"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_full_device_is_one_store_error(tmp_path: Path) -> None:
    """A file size limit of the operating system, in a process of its own, stands for a disk that fills while writing."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from sana_bench.errors import StoreError; from sana_bench.store import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_bytes(Path(sys.argv[1]), bytes(5000))\n"
        "except StoreError as error:\n    print(error)\n")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "big")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write") and done.stderr == ""
    assert os.listdir(tmp_path) == []


def test_a_killed_write_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    """SIGKILL between writing and renaming, where nothing of ours can clean up any more."""
    program = ("import os, signal, sys; from pathlib import Path; from sana_bench.store import write_bytes\n"
               "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
               "write_bytes(Path(sys.argv[1]), b'new')\n")
    path = tmp_path / "record.json"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("text", "part"), [
    ("", "not a valid Note"), ("{", "not a valid Note"), ("[]", "not a valid Note"),
    ('{"text": "x", "number": "many"}', "number"),
])
def test_a_damaged_record_is_an_error_that_says_how_to_go_on(tmp_path: Path, text: str, part: str) -> None:
    store = Store(tmp_path)
    write_bytes(store.folder("notes", "abc") / "record.json", text.encode())
    with pytest.raises(StoreError, match="Delete it to make it anew") as caught:
        store.find("notes", "abc", Note)
    assert part in str(caught.value)


def test_a_missing_record_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere\.json: No such file"):
        read_record(tmp_path / "nowhere.json", Note)


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    note = Note(text='quotes " and \u2028 and <script>', number=-1)
    write_record(tmp_path / "note.json", note)
    assert read_record(tmp_path / "note.json", Note) == note


def test_a_store_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="run.store"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match="run.store"):
        Store(tmp_path / "file" / "store")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system here that refuses even root")
def test_a_store_where_nobody_may_write_is_refused() -> None:
    with pytest.raises(StoreError, match="run.store"):
        Store("/proc/sana-bench/store")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_store_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="not writable"):
        Store(tmp_path)


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/store").root == tmp_path / "store"


def test_digest_ignores_order_of_keys_and_nothing_else() -> None:
    assert digest_of({"a": 1, "b": [2, 3]}) == digest_of({"b": [2, 3], "a": 1})
    others = [{"a": 1, "b": [3, 2]}, {"a": 1, "b": [2, 3], "c": None}, {"a": "1", "b": [2, 3]}, {"a": 1.5, "b": [2, 3]},
              [], None, ""]
    assert len({digest_of(value) for value in others}) == len(others)
    assert digest_of({"a": 1, "b": [2, 3]}) not in {digest_of(value) for value in others}


def test_digest_of_known_text_is_that_of_sha256() -> None:
    """`printf '{"a":1}' | sha256sum`, first 16 digits."""
    assert digest_of({"a": 1}) == "015abd7f5cc57a2d"
    assert digest_of(Note(text="x")) == digest_of({"text": "x", "number": 0})


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_files_are_copied_under_their_names_and_a_missing_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "from" / "views").mkdir(parents=True)
    (tmp_path / "from" / "views" / "a.webp").write_bytes(b"a")
    copy_files(tmp_path / "from", tmp_path / "to", ["views/a.webp"])
    assert (tmp_path / "to" / "views" / "a.webp").read_bytes() == b"a"
    with pytest.raises(StoreError, match="b.webp: No such file"):
        copy_files(tmp_path / "from", tmp_path / "to", ["views/b.webp"])


def test_one_process_at_a_time_makes_an_artifact(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", (
        "import sys; from sana_bench.store import Store\n"
        "with Store(sys.argv[1]).locked('checkpoint', 'd'): print('held', flush=True); sys.stdin.read()"), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen([sys.executable, "-c", (
        "import sys; from sana_bench.store import Store\n"
        "with Store(sys.argv[1]).locked('checkpoint', 'd'): print('mine')"), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiter.stderr.readline() == "waiting for the same checkpoint in another process\n"
    assert waiter.poll() is None
    holder.kill()  # the lock of a killed process is free
    assert waiter.communicate()[0] == "mine\n"
    holder.communicate()
