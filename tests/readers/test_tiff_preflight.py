"""The fields that are checked before a TIFF is parsed are those that a plain reading of its bytes has."""

from __future__ import annotations

import io
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from patchaug.readers.tiff.preflight import _CHECKED, _SIZES, _Tiff

KINDS = st.sampled_from([1, 2, 3, 4, 5, 12, 13, 16, 18, 99])
TAGS = st.sampled_from([254, 256, 257, 322, 324, 330, 65420])
FIELD = st.tuples(TAGS, KINDS, st.integers(0, 9), st.binary(min_size=8))


@given(st.booleans(), st.booleans(), st.lists(FIELD, max_size=300), st.integers(0, 40), st.integers(0, 5000))
def test_fields_are_those_of_a_plain_reading(little, big, fields, cut, before):
    order, letter, width = "<" if little else ">", "Q" if big else "I", 8 if big else 4
    head = (b"II" if little else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    head += struct.pack(f"{order}HHQ", 8, 0, 16) if big else struct.pack(f"{order}I", 8)
    at = len(head) + before
    table = [struct.pack(f"{order}HH{letter}", *one[:3]) + one[3][:width] for one in fields]
    count = struct.pack(f"{order}{'Q' if big else 'H'}", len(fields))
    data = head + bytes(before) + count + b"".join(table) + struct.pack(f"{order}{letter}", 77)
    data = data[: max(len(data) - cut, len(head))]

    expected, next_page = {}, 0
    for number, (tag, kind, values, value) in enumerate(fields):
        start = at + len(count) + number * len(table[0])
        place = start + len(table[0]) - width
        if start + len(table[0]) <= len(data) and tag in _CHECKED:
            outside = _SIZES.get(kind, 1) * values > width
            place = struct.unpack(f"{order}{letter}", value[:width])[0] if outside else place
            expected.setdefault(tag, (kind, values, place))
    if not cut:
        next_page = 77
    if at + len(count) > len(data):
        expected = {}

    tiff = _Tiff(io.BytesIO(data), len(data))
    assert (tiff.big, tiff.first) == (big, 16 if big else 8)
    assert tiff.page(at) == (expected, next_page)


@given(st.binary(min_size=16, max_size=9000), st.lists(st.tuples(st.integers(-9, 9100), st.integers(0, 9000))))
def test_blocks_hold_the_bytes_of_the_file(data, parts):
    tiff = _Tiff(io.BytesIO(data), len(data))
    for at, count in parts:
        assert tiff.read(at, count) == (data[at : at + count] if at >= 0 else b"")
        part = data[at : at + count // 4 * 4] if at >= 0 else b""
        numbers = np.frombuffer(part[: len(part) // 4 * 4], "<u4" if tiff.order == "little" else ">u4")
        assert tiff.numbers_at(at, 4, count // 4) == numbers.tolist()
