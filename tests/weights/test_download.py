"""Downloads from a real server that misbehaves."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from loopback import served

from resnext_backbones.weights import WeightsError, download
from resnext_backbones.weights.download import path_of

CONTENT = bytes(i * 7 % 251 for i in range(3_000_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BREAK = 1_000_000


VERSIONS = {
    "stays": [0, BREAK],
    "changes": [0, 0],
    "changes by date": [0, 0],
    "ignores": [0, BREAK, 0],  # sends the rest of another version, whatever is asked for
    "weak": [0, BREAK],  # such a name does not count
}
"""How a server names the version of its file, and which bytes it sends first."""


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the first part of the path says how."""

    requests: list[tuple[str, str | None]]
    starts: list[int]

    def do_GET(self) -> None:
        how = unquote(self.path.split("/")[1])
        asked = self.headers.get("Range")
        self.requests.append((how, asked))
        if how == "absent":
            self.send_error(404)
            return
        if how == "busy" and len(self.requests) < 3:
            self.send_error(503)
            return
        start, version = 0, '"second"'
        whole = how != "ignores" and self.headers.get("If-Range", version) != version
        if asked and how != "rangeless" and not whole:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        body = CONTENT[start:] if how != "wrong" else bytes(len(CONTENT) - start)
        self.send_response(206 if start else 200)
        self.starts.append(start)
        if how in ("changes", "changes by date", "ignores") and len(self.requests) == 1:
            body, version = bytes(len(body)), '"first"'
        if how in VERSIONS:
            name = "Last-Modified" if how == "changes by date" else "ETag"
            self.send_header(name, f"W/{version}" if how == "weak" else version)
        if how != "lengthless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks = how == "broken" or (
            how in ("once", "rangeless", *VERSIONS) and len(self.requests) == 1
        )
        if how == "slow":
            for i in range(0, len(body), BREAK):
                self.wfile.write(body[i : i + BREAK])
                self.wfile.flush()
                threading.Event().wait(0.3)
            return
        self.wfile.write(body[:BREAK] if breaks else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("requests", "starts"):
        monkeypatch.setattr(Handler, name, [], raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize(
    ("how", "ranges"),
    [
        ("well", [None]),
        ("once", [None, f"bytes={BREAK}-"]),
        ("broken", [None, f"bytes={BREAK}-", f"bytes={2 * BREAK}-"]),
        ("rangeless", [None, f"bytes={BREAK}-"]),
        ("lengthless", [None]),
        ("busy", [None, None, None]),
    ],
)
def test_the_file_is_whole_in_the_end(server: str, how: str, ranges: list[str | None]) -> None:
    path = download.download([f"{server}/{how}/weights.pth"], SHA256[:8])
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in Handler.requests] == ranges
    assert path == path_of("weights.pth")
    assert not list(path.parent.glob("*.part"))
    assert download.download([f"{server}/absent/weights.pth"]) == path  # had before


def test_a_file_that_is_there_asks_for_no_lock(server: str) -> None:
    """Its folder may be one that nobody may write to."""
    path = download.download([f"{server}/well/weights.pth"], SHA256[:8])
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    assert download.download([f"{server}/well/weights.pth"], SHA256[:8]) == path
    assert not path.with_name(f"{path.name}.lock").exists()


def test_what_a_killed_process_left_is_gone_on_with(server: str) -> None:
    path = path_of("weights.pth")
    path.parent.mkdir(parents=True)
    part = path.with_name("weights.pth.part")
    part.write_bytes(CONTENT[:BREAK])
    download.download([f"{server}/well/weights.pth"], SHA256)
    assert path.read_bytes() == CONTENT
    assert Handler.requests == [("well", f"bytes={BREAK}-")]


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", bytes(BREAK)])
def test_what_was_left_may_be_whole_or_another_file(server: str, left: bytes) -> None:
    path = path_of("weights.pth")
    path.parent.mkdir(parents=True)
    path.with_name("weights.pth.part").write_bytes(left)
    url = f"{server}/well/weights.pth"
    if left == bytes(BREAK):  # only the hash tells
        with pytest.raises(WeightsError, match="was thrown away"):
            download.download([url], SHA256)
    assert download.download([url], SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("how", VERSIONS)
def test_what_was_left_of_an_older_version_begins_anew(server: str, how: str) -> None:
    path = download.download([f"{server}/{quote(how)}/weights.pth"])
    assert path.read_bytes() == CONTENT
    assert Handler.starts == VERSIONS[how]
    names = {file.name for file in path.parent.iterdir()}
    assert names <= {path.name, f"{path.name}.from", f"{path.name}.lock"}


def test_two_addresses_of_one_name_at_once_give_two_files(server: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(download.download, [f"{server}/slow/weights.pth"])
        while not Handler.requests:
            threading.Event().wait(0.01)
        other = pool.submit(download.download, [f"{server}/wrong/weights.pth"])
    assert first.result().read_bytes() == CONTENT
    assert other.result().read_bytes() == bytes(len(CONTENT))


def test_another_hash_is_shown_and_nothing_kept(server: str) -> None:
    wrong = hashlib.sha256(bytes(len(CONTENT))).hexdigest()
    with pytest.raises(WeightsError, match=f"SHA-256 {wrong} and not {SHA256[:12]}"):
        download.download([f"{server}/wrong/weights.pth"], SHA256[:12])
    assert not list(path_of("weights.pth").parent.glob("weights.pth*[!k]"))


def test_a_mirror_is_tried(server: str) -> None:
    urls = [f"{server}/absent/weights.pth", f"{server}/well/weights.pth"]
    assert download.download(urls, SHA256).read_bytes() == CONTENT


def test_offline_the_message_says_where_to_put_it(server: str, monkeypatch) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    url = "http://127.0.0.1:9/weights.pth"  # nothing listens there
    path = path_of("weights.pth")
    with pytest.raises(WeightsError, match=re.escape(url)) as caught:
        download.download([url, f"{server}/absent/weights.pth"])
    # Who calls it adds the option that names a file, where there is one.
    assert str(caught.value).endswith(f"put it at {path}")
    assert "404" in str(caught.value)
    path.write_bytes(b"by hand")
    assert download.download([url]) == path


def test_two_processes_at_once_do_not_disturb_each_other(server: str) -> None:
    code = (
        "from resnext_backbones.weights.download import download\n"
        f"print(download(['{server}/slow/weights.pth'], '{SHA256}'))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert paths == {str(path_of("weights.pth"))}
    assert path_of("weights.pth").read_bytes() == CONTENT
    assert len(Handler.requests) == 1


def test_the_progress_is_shown(server: str, capsys) -> None:
    download.download([f"{server}/well/weights.pth"])
    assert "2.86M" in capsys.readouterr().err


def test_a_page_of_the_web_is_no_file_and_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for folder, content in (
        ("a", b"\n <!DOCTYPE html><html>Sign in"),
        ("b", b"one"),
        ("c", b"two"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "epoch_12.pth").write_bytes(content)
    with served(tmp_path) as address:
        with pytest.raises(WeightsError, match=r"epoch_12.pth: what .*/a/.* is a page of the web"):
            download.download([f"{address}/a/epoch_12.pth"])
        # Two addresses whose files have one name are two files.
        found = [download.download([f"{address}/{name}/epoch_12.pth"]) for name in "bcbc"]
    assert [path.read_bytes() for path in found] == [b"one", b"two", b"one", b"two"]
    assert found[0] == tmp_path / "home" / "hub" / "checkpoints" / "epoch_12.pth"
