"""Says what a file is that was taken for another, by its first bytes."""

from __future__ import annotations

from collections.abc import Iterable

Beginnings = Iterable[tuple[bytes, str]]

OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` fetches the file"),
    (b"<?xml", "XML, as servers answer where they refuse: take the file from its source again"),
    (b"<", "a page of the web, where the file should be: take it from its source again"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
)
"""What downloads and archives leave in the place of any file begins like this."""


def what_else(start: bytes, more: Beginnings = ()) -> str:
    """Returns what a file that begins with `start` is, as far as is known, or "".

    Args:
        start: some of its first bytes.
        more: what else is taken for a file of this kind, by how it begins.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        return "empty: take the file from its source again"
    return next((what for begin, what in (*more, *OTHERS) if text.startswith(begin)), "")
