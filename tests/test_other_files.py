"""What is taken for weights, annotations or images is named by how it begins."""

from __future__ import annotations

import pytest

from resnext_backbones.other_files import OTHERS, what_else

BEGINNINGS = {
    b"": "empty",
    b"version https://git-lfs.github.com/spec/v1": "git lfs pull",
    b"\xef\xbb\xbf\n <!DOCTYPE html>": "page of the web",
    b'<?xml version="1.0"?><Error>': "XML",
    b"\x1f\x8b\x08": "gzip",
    b"PK\x03\x04": "zip",
    b"\x93NUMPY": "numpy",
    b"nothing of these": "",
}


@pytest.mark.parametrize("start", BEGINNINGS)
def test_what_a_file_begins_with_says_what_it_is(start: bytes) -> None:
    said = what_else(start, [(b"\x93NUMPY", "an array of numpy")])
    assert BEGINNINGS[start] in said
    assert bool(said) is bool(BEGINNINGS[start])


def test_each_beginning_is_found() -> None:
    assert all(what_else(begin) == what for begin, what in OTHERS)
