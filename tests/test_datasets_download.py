"""Downloads, against a server on this machine: mirrors that are dead, slow, wrong or cut off.

Whatever happens, the cache ends with whole files of the right hash and nothing else.
No test touches the network outside 127.0.0.1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scratchnet import datasets
from scratchnet.datasets import DatasetUnavailableError, formats
from scratchnet.datasets.fetch import RemoteFile, fetch

CONTENT = bytes(range(256)) * 1000
GOOD_HASH = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
TIMEOUT = (0.5, 0.5)

Respond = Callable[[BaseHTTPRequestHandler], None]


class Mirrors:
    """A server whose answers are functions by path, and the requests it has seen."""

    def __init__(self) -> None:
        self.answers: dict[str, Respond] = {}
        self.seen: list[str] = []
        self.over = threading.Event()
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.seen.append(self.path)
                mirrors.answers[self.path](self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name: str, answer: Respond) -> str:
        self.answers[f"/{name}"] = answer
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def silence(self, handler: BaseHTTPRequestHandler) -> None:
        """Accept, and never answer."""
        self.over.wait(30)

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        """Send half, and then nothing while the connection stays open."""
        cut(handler)
        handler.wfile.flush()
        self.over.wait(30)


def serve(content: bytes, announced: int | None = None) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(announced or len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return respond


good = serve(CONTENT)
wrong = serve(CONTENT[::-1])
cut = serve(CONTENT[: len(CONTENT) // 2], announced=len(CONTENT))


def dead_url() -> str:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file"


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = Mirrors()
    yield server
    server.close()


def one(*urls: str, known_hash: str = GOOD_HASH) -> list[list[RemoteFile]]:
    return [[RemoteFile("file.bin", urls, known_hash)]]


def everything_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


BAD: dict[str, Callable[[Mirrors], str]] = {
    "dead": lambda mirrors: dead_url(),
    "silent": lambda mirrors: mirrors.url("silent", mirrors.silence),
    "stalling": lambda mirrors: mirrors.url("stalling", mirrors.stall),
    "wrong": lambda mirrors: mirrors.url("wrong", wrong),
    "cut": lambda mirrors: mirrors.url("cut", cut),
    "missing": lambda mirrors: mirrors.url("missing", lambda handler: handler.send_error(503)),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_mirror_and_then_a_good_one(mirrors: Mirrors, tmp_path: Path, bad: str) -> None:
    start = time.monotonic()
    sources = one(BAD[bad](mirrors), mirrors.url("good", good))
    paths = fetch(sources, str(tmp_path / "cache"), TIMEOUT)
    assert time.monotonic() - start < 5
    assert paths == [str(tmp_path / "cache" / "file.bin")]
    assert everything_in(tmp_path / "cache") == {"file.bin": CONTENT}


def test_all_mirrors_bad(mirrors: Mirrors, tmp_path: Path) -> None:
    """The error lists every address with its own reason, and nothing is left behind."""
    urls = [make(mirrors) for make in BAD.values()]
    with pytest.raises(DatasetUnavailableError) as caught:
        fetch(one(*urls), str(tmp_path / "cache"), TIMEOUT)
    lines = str(caught.value).splitlines()
    reasons = ("refused", "timed out", "timed out", "hash", "IncompleteRead", "503")
    for url, reason in zip(urls, reasons, strict=True):
        assert any(url in line and reason in line for line in lines), (url, reason, lines)
    assert "SCRATCHNET_DATA" in caught.value.remedy
    assert everything_in(tmp_path / "cache") == {}


def test_a_good_file_is_not_fetched_twice_and_a_bad_one_is_replaced(
    mirrors: Mirrors, tmp_path: Path
) -> None:
    sources = one(mirrors.url("good", good))
    (tmp_path / "file.bin").write_bytes(b"damaged")
    for _ in range(2):
        fetch(sources, str(tmp_path), TIMEOUT)
    assert mirrors.seen == ["/good"]
    assert everything_in(tmp_path) == {"file.bin": CONTENT}


def test_a_failed_download_leaves_the_old_file(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"old")
    with pytest.raises(DatasetUnavailableError):
        fetch(one(mirrors.url("cut", cut), mirrors.url("wrong", wrong)), str(tmp_path), TIMEOUT)
    assert everything_in(tmp_path) == {"file.bin": b"old"}


def test_the_target_appears_only_when_it_is_whole(mirrors: Mirrors, tmp_path: Path) -> None:
    seen_meanwhile: list[bool] = []

    # The last bytes are held back until somebody has looked.
    def slowly(handler: BaseHTTPRequestHandler) -> None:
        serve(CONTENT[:-1], announced=len(CONTENT))(handler)
        handler.wfile.flush()
        time.sleep(0.1)
        seen_meanwhile.append((tmp_path / "file.bin").exists())
        handler.wfile.write(CONTENT[-1:])

    fetch(one(mirrors.url("slowly", slowly)), str(tmp_path), TIMEOUT)
    assert seen_meanwhile == [False]
    assert everything_in(tmp_path) == {"file.bin": CONTENT}


def test_a_cache_that_cannot_be_written(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with pytest.raises(DatasetUnavailableError, match="SCRATCHNET_CACHE"):
        fetch(one(mirrors.url("good", good)), str(tmp_path / "cache"), TIMEOUT)


def test_the_bar_is_drawn_on_terminals_only(
    mirrors: Mirrors,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    fetch(one(mirrors.url("good", good)), str(tmp_path / "pipe"), TIMEOUT)
    assert "━" not in capsys.readouterr().err
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    fetch(one(mirrors.url("good", good)), str(tmp_path / "terminal"), TIMEOUT)
    screen = capsys.readouterr()
    assert "file.bin" in screen.err and "━" in screen.err and not screen.out


# MNIST by download, with a tiny stand-in ----------------------------------------------------------

ARRAYS = {
    "x_train": np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28),
    "y_train": np.array([7, 0], dtype=np.uint8),
    "x_test": np.ones((1, 28, 28), dtype=np.uint8),
    "y_test": np.array([9], dtype=np.uint8),
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without MNIST, for which ARRAYS are MNIST; returns its cache."""
    for variable in ("SCRATCHNET_DATA", "SCRATCHNET_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("SCRATCHNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.mnist, "TIMEOUT", TIMEOUT)
    hashes = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in ARRAYS.items()}
    monkeypatch.setattr(datasets.mnist, "SHA256", hashes)
    return tmp_path / "cache"


def remote(mirrors: Mirrors, name: str, content: bytes) -> RemoteFile:
    url = mirrors.url(name, serve(content))
    return RemoteFile(name, (dead_url(), url), "md5:" + hashlib.md5(content).hexdigest())


def as_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **ARRAYS)  # type: ignore[arg-type]
    return file.getvalue()


def as_idx(name: str) -> bytes:
    array = ARRAYS[name]
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


def assert_is_mnist(data: datasets.Data) -> None:
    (x_train, y_train), (x_test, y_test) = data
    for array, expected in zip((x_train, y_train, x_test, y_test), ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_mnist_from_kerass_file(
    mirrors: Mirrors, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.mnist, "SOURCES", ((remote(mirrors, "mnist.npz", as_npz()),),))
    assert datasets.mnist.find().place == "download" and not machine.exists()
    for _ in range(2):
        assert_is_mnist(datasets.mnist.load_data())
    assert mirrors.seen == ["/mnist.npz"]
    assert datasets.mnist.find().place == "scratchnet's cache"


def test_mnist_from_the_idx_mirrors(
    mirrors: Mirrors, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = RemoteFile("mnist.npz", (dead_url(), mirrors.url("mnist.npz", wrong)), GOOD_HASH)
    files = tuple(
        remote(mirrors, stem + ".gz", as_idx(name)) for name, stem in formats.IDX_FILES.items()
    )
    monkeypatch.setattr(datasets.mnist, "SOURCES", ((keras,), files))
    for _ in range(2):
        assert_is_mnist(datasets.mnist.load_data())
    assert len(mirrors.seen) == 1 + 4
    assert set(everything_in(machine)) == {stem + ".gz" for stem in formats.IDX_FILES.values()}


def test_a_download_that_is_not_mnist(
    mirrors: Mirrors, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.mnist, "SOURCES", ((remote(mirrors, "mnist.npz", as_npz()),),))
    monkeypatch.setitem(datasets.mnist.SHA256, "y_test", "0" * 64)
    with pytest.raises(datasets.DatasetError, match="is not MNIST: sha256 of y_test"):
        datasets.mnist.load_data()


def test_no_mnist_and_no_network_leaves_the_digits(
    mirrors: Mirrors, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = dead_url()
    sources = ((RemoteFile("mnist.npz", (url,), GOOD_HASH),),)
    monkeypatch.setattr(datasets.mnist, "SOURCES", sources)
    with pytest.raises(DatasetUnavailableError, match=url):
        datasets.mnist.load_data()
    choice = datasets.best_available()
    assert choice.name == datasets.digits.NAME and url in choice.reason
    assert everything_in(machine) == {}


def test_the_real_addresses_are_complete() -> None:
    """No request is made: only that each file has an https address and a hash of full length."""
    keras, idx = datasets.mnist.SOURCES
    assert [file.name for file in keras] == ["mnist.npz"]
    assert {file.name for file in idx} == {stem + ".gz" for stem in formats.IDX_FILES.values()}
    for file in keras + idx:
        kind, digest = file.known_hash.split(":")
        assert len(digest) == {"sha256": 64, "md5": 32}[kind]
        assert all(url.startswith("https://") and url.endswith(file.name) for url in file.urls)
