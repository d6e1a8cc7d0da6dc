"""A JPEG's header is read, and its data searched for what is missing, which decoders fill with grey
and say nothing of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

START = b"\xff\xd8\xff"
"""A JPEG begins with these bytes."""

EXIF = b"Exif\0\0"
HOLE = 64
"""No scan has so many bytes of zero in a row, unless zero means a flat block."""

PART = 1 << 15
SECTOR = 512
"""Where data is lost, a disk or a network lost multiples of so many bytes."""

TABLES, SCAN, END, RESTART_INTERVAL = 0xC4, 0xDA, 0xD9, 0xDD
DECODED = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, by Huffman's codes
FRAMES = {*range(0xC0, 0xD0)} - {TABLES, 0xC8, 0xCC}
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
IN_SCANS = np.isin(np.arange(256), [0x00, *range(0xD0, 0xD8), 0xFF])
"""What follows 0xFF within a scan: a byte of data, restarts, filling."""

BETWEEN_SCANS = {TABLES, SCAN, RESTART_INTERVAL, 0xDB, 0xDC, 0xCC, 0xFE, *range(0xE0, 0xF0)}

FirstSymbols = dict[int, int]
"""By the class and number of a Huffman table: what a code of zeros alone means."""


@dataclass(frozen=True)
class Header:
    """Says what a JPEG holds, before its first scan.

    Attributes:
        size: width and height as they are stored, in pixels.
        is_plain: 8 bits of one channel or three, which every decoder knows.
        exif: the block of EXIF; None where there is none.
        scan: where the first scan's header begins.
        symbols: of the tables before it.
    """

    size: tuple[int, int]
    is_plain: bool
    exif: bytes | None
    scan: int
    symbols: FirstSymbols = field(default_factory=dict)


def read_header(file: BinaryIO) -> Header | None:
    """Returns the header of a JPEG; None where it is damaged, or is of a rare kind."""
    file.seek(2)
    size, is_plain, exif = None, False, None
    symbols: FirstSymbols = {}
    while True:
        code = file.read(2)
        if len(code) < 2 or code[0] != 0xFF:
            return None
        if code[1] == 0xFF:  # filling
            file.seek(-1, 1)
            continue
        if code[1] in ALONE:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return None
        if code[1] == SCAN:
            where = file.tell() - 4
            return Header(size, is_plain, exif, where, symbols) if size else None
        if code[1] not in {0xE1, TABLES, *FRAMES}:
            file.seek(length, 1)
            continue
        content = file.read(length)
        if len(content) < length:
            return None
        if code[1] == TABLES:
            symbols.update(_first_symbols(content))
        elif code[1] == 0xE1:
            exif = content if exif is None and content.startswith(EXIF) else exif
        elif length < 6:
            return None
        else:
            size = int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")
            is_plain = content[0] == 8 and content[5] in (1, 3) and code[1] in DECODED
            if not all(size):
                return None


def check_whole(content: bytes, header: Header) -> None:
    """Raises ValueError, which says what is missing, where a JPEG lacks its end or has a hole."""
    symbols, begin = dict(header.symbols), header.scan
    while True:
        # The header of a scan: how many channels, for each its tables, and what the scan refines.
        begin += 4
        count = content[begin] if begin < len(content) else 0
        channels = content[begin + 1 : begin + 1 + 2 * count]
        kind = content[begin + 1 + 2 * count : begin + 4 + 2 * count]
        if len(kind) < 3:
            raise ValueError("it is truncated: it ends in the header of a scan")
        begin += 4 + 2 * count
        end, code = _marker(content, begin)
        flat = _is_flat(symbols, channels[1::2], kind)
        if hole := _hole(content, begin, len(content) if code is None else end, flat):
            raise ValueError(f"it has a hole of {hole[1]} bytes of zero at byte {hole[0]}")
        # What lies between scans is skipped by its length.
        while code in BETWEEN_SCANS - {SCAN}:
            length = int.from_bytes(content[end + 2 : end + 4], "big")
            if code == TABLES:
                symbols.update(_first_symbols(content[end + 4 : end + 2 + length]))
            begin = end + 2 + max(2, length)
            end, code = _marker(content, begin)
        if code == END:
            return
        if code is None:
            raise ValueError("it is truncated: it has no end")
        if code != SCAN:
            raise ValueError(f"it is damaged: there is a marker FF{code:02X} among its pixels")
        begin = end


def _marker(content: bytes, begin: int) -> tuple[int, int | None]:
    """Returns where the next marker is that belongs to no scan, and its code; None: there is none.

    It costs a hundredth of decoding, as most parts hold no marker at all.
    """
    values = np.frombuffer(content, np.uint8)
    while begin < len(values) - 1:
        part = values[begin : begin + PART + 1]
        # 1 where 0xFF stands before anything but 0, the code of a byte of data.
        marked = part[:-1] == 0xFF
        np.minimum(marked.view(np.uint8), part[1:], out=marked.view(np.uint8))
        if marked.any():
            places = np.flatnonzero(marked)
            codes = part[places + 1]
            markers = np.flatnonzero(~IN_SCANS[codes])
            if len(markers):
                return begin + int(places[markers[0]]), int(codes[markers[0]])
        begin += PART
    return len(content), None


def _first_symbols(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields the tables of a segment, and what the first code of each, which is zeros, means."""
    while len(content) > 17:
        yield content[0], content[17]
        content = content[17 + sum(content[1:17]) :]


def _is_flat(symbols: FirstSymbols, tables: bytes, kind: bytes) -> bool:
    """Tells whether zeros in a scan mean flat blocks, and may be many."""
    first, last, refines = kind[0], kind[1], kind[2] >> 4
    for table in tables:
        if first == 0 and not refines and symbols.get(table >> 4, 0) != 0:
            return False
        if last > 0 and symbols.get(0x10 | table & 15, 1) & 15:
            return False
    return True


def _hole(content: bytes, begin: int, end: int, flat: bool) -> tuple[int, int] | None:
    """Returns where zeros begin that no encoder wrote, and their number."""
    while (start := content.find(bytes(HOLE), begin, end)) >= 0:
        values = np.frombuffer(content, np.uint8, end - start, start)
        others = np.flatnonzero(values[: 1 << 20])
        begin = start + (int(others[0]) if len(others) else len(values))
        # Where flat blocks are zeros, a run that fills whole sectors is none of theirs.
        if not flat or (start % SECTOR == 0 and begin % SECTOR == 0):
            return start, begin - start
    return None
