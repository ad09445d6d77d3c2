"""Which DICOM files are one slide: those of one series. Only the head of a file is parsed, up to the series' number."""

from __future__ import annotations

import os
import struct

_SERIES = (0x0020, 0x000E)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_HEAD = 1 << 20  # bytes in which the number lies, far before the pixels
_IMPLICIT = b"1.2.840.10008.1.2"


def series_of(path: str | os.PathLike[str]) -> str | None:
    """Return the SeriesInstanceUID of a DICOM file; None where the file is not DICOM, or does not say."""
    try:
        with open(path, "rb") as file:
            data = file.read(_HEAD)
        return _series(data) if data[128:132] == b"DICM" else None
    except (OSError, struct.error, IndexError, UnicodeDecodeError):
        return None


def _series(data: bytes) -> str | None:
    at, explicit = 132, True
    while at < len(data) - 8:
        group, element = struct.unpack_from("<HH", data, at)
        in_meta = group == 2
        start, length = _value(data, at, explicit or in_meta)
        if (group, element) > _SERIES:
            return None
        if (group, element) == (2, 0x10):
            explicit = data[start : start + length].rstrip(b"\0 ") != _IMPLICIT
        if (group, element) == _SERIES:
            return data[start : start + length].rstrip(b"\0 ").decode("ascii") or None
        at = _end_of_sequence(data, start, explicit) if length == _UNDEFINED else start + length
    return None


def _value(data: bytes, at: int, explicit: bool) -> tuple[int, int]:
    """Return where the value of an element starts, and its length in bytes."""
    if not explicit or data[at : at + 2] == b"\xfe\xff":  # items of sequences have no type
        return at + 8, struct.unpack_from("<I", data, at + 4)[0]
    if data[at + 4 : at + 6] in _LONG:
        return at + 12, struct.unpack_from("<I", data, at + 8)[0]
    return at + 8, struct.unpack_from("<H", data, at + 6)[0]


def _end_of_sequence(data: bytes, at: int, explicit: bool) -> int:
    """Return the place after a sequence, or an item, of undefined length."""
    while at < len(data) - 8:
        group, element = struct.unpack_from("<HH", data, at)
        start, length = _value(data, at, explicit)
        if group == 0xFFFE and element in (0xE00D, 0xE0DD):
            return at + 8
        at = _end_of_sequence(data, start, explicit) if length == _UNDEFINED else start + length
    return len(data)
