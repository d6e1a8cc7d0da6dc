"""A JPEG's header is read, and its data searched for what is missing, which decoders fill with grey
and say nothing of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

import numpy as np

START = b"\xff\xd8\xff"
"""A JPEG begins with these bytes."""

EXIF = b"Exif\0\0"

HOLE = 64
"""No scan has so many bytes of zero in a row, unless zero means a flat block."""

RUNS = re.compile(rb"\0{%d,}" % HOLE)

SECTOR = 512
"""Where data is lost, a disk or a network lost multiples of so many bytes."""

PART = 1 << 20

TABLES, END, SCAN, EXTRA = 0xC4, 0xD9, 0xDA, 0xE1
DECODED = {0xC0, 0xC1, 0xC2}  # frames, baseline, extended and progressive, by Huffman's codes
SEQUENTIAL = {0xC0, 0xC1}
"""All of a channel is in one scan of these."""

IN_SCANS = np.isin(np.arange(256), [0x00, *range(0xD0, 0xD8), 0xFF])
"""What follows 0xFF within a scan: a byte of data, restarts, filling."""

BETWEEN_SCANS = {TABLES, SCAN, 0xDB, 0xDC, 0xDD, 0xCC, 0xFE, *range(0xE0, 0xF0)}


class Header(NamedTuple):
    """Says what a JPEG holds."""

    size: tuple[int, int]  # width and height as they are stored, in pixels
    is_plain: bool  # 8 bits of one channel or three, which every decoder knows
    exif: bytes | None
    data: int  # where the data of the first scan begins


def read_header(file: BinaryIO) -> Header | None:
    """Returns the header of a JPEG; None where it is damaged, or is of a rare kind."""
    file.seek(2)
    size, is_plain, exif = (0, 0), False, None
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        code, length = head[1], int.from_bytes(head[2:], "big") - 2
        if length < 0:
            return None
        if code == SCAN:
            return Header(size, is_plain, exif, file.tell() + length) if all(size) else None
        content = file.read(length) if code in {EXTRA, *DECODED} else b""
        file.seek(length - len(content), 1)
        if code == EXTRA:
            exif = content if exif is None and content.startswith(EXIF) else exif
        elif len(content) > 5:
            size = int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")
            is_plain = content[0] == 8 and content[5] in (1, 3)
    return None


def check_whole(content: bytes, data: int) -> None:
    """Raises ValueError, which says what is missing, where a JPEG lacks its end or has a hole. Most
    have one scan and its end, which is seen in a hundredth of the time that decoding takes.

    Args:
        data: where that of the first scan begins.
    """
    values = np.frombuffer(content, np.uint8)[data:]
    marked = (values[:-1] == 0xFF).view(np.uint8)  # 1 where a marker is, or 0xFF as a value
    markers = np.minimum(marked, values[1:], out=marked).sum()
    if markers > 1 or content[-2:] != b"\xff\xd9" or content.find(bytes(HOLE), data) >= 0:
        _check_segments(content)


def _check_segments(content: bytes) -> None:
    symbols: dict[int, int] = {}  # by the class and number of a table: what a code of zeros means
    flat: bool | None = None  # whether zeros are flat blocks; None is before the first scan
    frame, scanned, begin = 0, set[int](), 2
    for place, code in chain(_markers(content), [(len(content), None)]):
        if place < begin:  # in a segment, whose length is known
            continue
        if flat is not None and content.find(bytes(HOLE), begin, place) >= 0:
            for run in RUNS.finditer(content, begin, place):
                # Where flat blocks are zeros, a run that fills whole sectors is none of theirs.
                if not (flat and (run.start() % SECTOR or run.end() % SECTOR)):
                    raise ValueError(
                        f"it has a hole of {len(run[0])} bytes of zero at byte {run.start()}"
                    )
        if code == END:
            return
        if code is None:
            raise ValueError("it is truncated: it has no end")
        if flat is not None and code not in BETWEEN_SCANS:
            raise ValueError(f"it is damaged: there is a marker FF{code:02X} among its pixels")
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        segment, begin = content[place + 4 : place + 2 + length], place + 2 + max(2, length)
        if code == TABLES:
            symbols.update(_first_symbols(segment))
        elif code in DECODED:
            frame = code
        elif code == SCAN:
            flat = _is_flat(symbols, segment)
            channels = set(segment[1 : 1 + 2 * segment[0] : 2]) if segment else set()
            if frame in SEQUENTIAL and channels & scanned:
                raise ValueError("it is damaged: a channel has two scans")
            scanned |= channels


def _markers(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields the places of markers that belong to no scan, and their codes."""
    values = np.frombuffer(content, np.uint8)
    for start in range(0, len(values) - 1, PART):
        part = values[start : start + PART + 1]
        places = np.flatnonzero(part[:-1] == 0xFF)
        codes = part[places + 1]
        found = ~IN_SCANS[codes]
        yield from zip((start + places[found]).tolist(), codes[found].tolist(), strict=True)


def _first_symbols(segment: bytes) -> Iterator[tuple[int, int]]:
    """Yields the tables of a segment, and what the first code of each, which is zeros, means."""
    while len(segment) > 17:
        yield segment[0], segment[17]
        segment = segment[17 + sum(segment[1:17]) :]


def _is_flat(symbols: dict[int, int], scan: bytes) -> bool:
    """Tells whether zeros in a scan mean flat blocks, and may be many, by the scan's header: its
    channels with their tables, and which coefficients it has or refines.
    """
    tables, kind = scan[2 : 1 + 2 * scan[0] : 2] if scan else b"", scan[-3:]
    for table in tables:
        if kind[0] == 0 and not kind[2] >> 4 and symbols.get(table >> 4, 0) != 0:
            return False
        if kind[1] > 0 and symbols.get(0x10 | table & 15, 1) & 15:
            return False
    return len(kind) == 3
