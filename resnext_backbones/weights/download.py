"""Downloads files: whole, checked, and to where torch.hub keeps them."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import huggingface_hub
import torch
from filelock import FileLock
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from resnext_backbones.io import atomic_write_text
from resnext_backbones.weights.errors import DownloadError, WeightsError

TRIES = 5
"""An address is asked so often: what has come goes on where the last connection broke off."""

TIMEOUT = 30
"""A connection is given up after so many seconds without a byte."""

NETWORK_ERRORS = (OSError, http.client.HTTPException)


PAGES = (b"<!doctype html", b"<html", b"<?xml")
"""A server that wants a login, or has an error, sends what begins so, and calls it a success."""

_PROGRESS = ContextVar("progress", default=True)


@contextmanager
def progress(shown: bool) -> Iterator[None]:
    """Shows bars of downloads, which is the default, or none."""
    before = _PROGRESS.set(shown)
    try:
        yield
    finally:
        _PROGRESS.reset(before)


def path_of(url: str) -> Path:
    """Returns where a downloaded file lies: in TORCH_HOME/hub/checkpoints, by its own name; or
    behind a mark of its address, where a file from another one has this name.
    """
    name = PurePosixPath(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    note = _note_of(path)
    if not note.is_file() or note.read_text(encoding="utf-8") == url:
        return path
    return path.with_name(f"{_mark(url)}-{name}")


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def _note_of(path: Path) -> Path:
    """Returns the file that says from which address another came; none does of one put there."""
    return path.with_name(f"{path.name}.from")


def download(urls: Sequence[str], sha256: str = "") -> Path:
    """Returns the file, from the first of the addresses that has it; at once if it was had before.

    It is written under another name and gets its own when it is whole and its hash is right. What
    a broken connection left is kept, and the next call goes on from there. Several processes may
    ask for the same file: one of them downloads it.

    Raises DownloadError where it cannot be had, and WeightsError where its hash does not begin with
    `sha256`, which is hexadecimal.
    """
    path = path_of(urls[0])
    if path.is_file() and path_of(urls[0]) == path:  # a lock may not be written beside it
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path_of(urls[0]) != path:  # another address's file has just come under this name
            return download(urls, sha256)
        if path.is_file():
            return path
        failures = []
        for url in urls:
            try:
                # Without a hash the beginning of another file would not be told from this one's.
                mark = "" if sha256 else f".{_mark(url)}"
                version = None if sha256 else path.with_name(f"{path.name}{mark}.version")
                part = _fetch(url, path.with_name(f"{path.name}{mark}.part"), version)
            except NETWORK_ERRORS as error:
                failures.append(f"{url} ({str(error) or type(error).__name__})")
                continue
            if not (found := hash_of(part)).startswith(sha256):
                part.unlink()
                raise WeightsError(
                    f"weights {path.name}: what {url} gave has the SHA-256 {found} and not "
                    f"{sha256}; it was thrown away"
                )
            with part.open("rb") as file:
                page = file.read(256).lstrip().lower().startswith(PAGES)
            if page:
                part.unlink()
                raise WeightsError(
                    f"weights {path.name}: what {url} gave is a page of the web, not a file of "
                    "weights; it was thrown away. The address may want a login, or be that of a "
                    f"page about the file; download it by hand, and put it at {path}"
                )
            if not version:  # by a hash one name is one file
                return part.replace(path)
            atomic_write_text(_note_of(path), url)
            part.replace(path)
            version.unlink(missing_ok=True)
            return path
    raise DownloadError(
        f"weights {path.name}: could not be downloaded from {' or '.join(failures)}; download the "
        f"file on a machine with network access, and put it at {path}"
    )


def _fetch(url: str, part: Path, version: Path | None) -> Path:
    for left in reversed(range(TRIES)):
        try:
            _go_on(url, part, version)
            break
        except NETWORK_ERRORS as error:
            # Nothing comes of asking again, unless the server is only busy.
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or not left:
                raise
    return part


def _go_on(url: str, part: Path, version: Path | None) -> None:
    """Appends what is missing to a file that may have the beginning already; raises OSError where
    the connection failed, or broke off before the end.

    `version` is a file that keeps which version of the file the beginning is of, as the server
    calls it: where that has another one by now, it sends the whole (RFC 9110, section 13.1.5).
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "resnext_backbones", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version and version.is_file() and (noted := version.read_text(encoding="utf-8")):
            headers["If-Range"] = noted
    try:
        response = urllib.request.urlopen(  # the address is the user's
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # There is nothing behind what is here: it is another file, or whole.
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        part.unlink()
        raise ConnectionError("the beginning of another file lay here") from error
    now = _version_of(response.headers)
    if response.status == 206 and now and headers.get("If-Range", now) != now:
        response.close()
        part.unlink()
        raise ConnectionError("the server goes on with another version")
    with response, part.open("ab") as file:
        if response.status != 206:  # the server sends the whole
            file.truncate(0)
            have = 0
            if version:
                atomic_write_text(version, now)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with torch.hub.tqdm(
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=not _PROGRESS.get(),
        ) as bar:
            while chunk := response.read(2**20):
                bar.update(file.write(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"{part.stat().st_size} of {total} bytes came")


def _version_of(headers: Mapping[str, str]) -> str:
    """Returns how a server calls a file's bytes, or when they changed; "": it does neither."""
    tag = headers.get("ETag", "")
    # Any other is weak, of what reads alike and not of the same bytes, or none.
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def hash_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_hub(repository: str, name: str) -> Path:
    """Returns a file of a repository on the Hugging Face Hub, in that library's own cache; raises
    WeightsError where it cannot be had.
    """
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, *NETWORK_ERRORS) as error:
        raise WeightsError(
            f"weights hf://{repository}/{name}: cannot be had: {error}; load them once on a "
            "machine with network access, and copy its HF_HOME, which is ~/.cache/huggingface"
        ) from error
