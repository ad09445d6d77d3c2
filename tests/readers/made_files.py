"""Small files in the formats of scanner makers, written here, so that every reader is tested without real slides."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import tifffile


def write_svs(path, levels, *, compression="deflate", mpp="0.499", broken=None):
    """Write an Aperio SVS with tiles of 240 px; `broken` is a tile of level 0 whose bytes become zero."""
    words = f"Aperio Image Library v11.2.1\r\n{levels[0].shape[1]}x{levels[0].shape[0]}|AppMag = 20"
    words += f"|MPP = {mpp}" if mpp is not None else ""
    with tifffile.TiffWriter(path) as writer:
        for number, pixels in enumerate(levels):
            writer.write(
                pixels, tile=(240, 240), photometric="rgb", compression=compression, metadata=None,
                description=words, subfiletype=1 if number else 0,
            )  # fmt: skip
    if broken is not None:
        with tifffile.TiffFile(path) as tiff:
            offset, count = (values[broken] for values in (tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts))
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(bytes(count))
    return path


def write_ndpi(path, pixels):
    """Write a Hamamatsu NDPI of one level, a JPEG as wide as the image; return the pixels that it decodes to."""
    data = imagecodecs.jpeg8_encode(pixels, level=95, subsampling="444")
    height, width = pixels.shape[:2]
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            iter([data]), shape=pixels.shape, dtype="u1", photometric="ycbcr", compression="jpeg", rowsperstrip=height,
            metadata=None, subsampling=(1, 1), resolution=(20000, 20000), resolutionunit="CENTIMETER",
            extratags=[(65420, "I", 1, 1, True), (65421, "f", 1, 20.0, True), (65424, "i", 1, 0, True)],
        )  # fmt: skip
    return imagecodecs.jpeg8_decode(data)


def write_dicom(path, pixels, *, tile=64, spacing=0.0005):
    """Write a DICOM whole slide of one level, uncompressed, with `spacing` millimetres per pixel."""
    height, width = pixels.shape[:2]
    across, down = -(-width // tile), -(-height // tile)
    padded = np.zeros((down * tile, across * tile, 3), np.uint8)
    padded[:height, :width] = pixels
    frames = padded.reshape(down, tile, across, tile, 3).swapaxes(1, 2)
    spaced = _element(0x0028, 0x0030, "DS", f"{spacing}\\{spacing}")
    measures = _element(0x0028, 0x9110, "SQ", _item(_element(0x0018, 0x0050, "DS", "0.001") + spaced))
    kind = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL whole slide microscopy image
    meta = _element(2, 1, "OB", b"\0\1") + _element(2, 2, "UI", kind) + _element(2, 3, "UI", "1.2.3.1")
    meta += _element(2, 0x10, "UI", "1.2.840.10008.1.2.1") + _element(2, 0x12, "UI", "1.2.3.9")
    body = [
        (0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"), (0x0008, 0x0016, "UI", kind),
        (0x0008, 0x0018, "UI", "1.2.3.1"), (0x0008, 0x0060, "CS", "SM"), (0x0020, 0x000D, "UI", "1.2.3.2"),
        (0x0020, 0x000E, "UI", "1.2.3.3"), (0x0020, 0x0052, "UI", "1.2.3.4"), (0x0020, 0x9311, "CS", "TILED_FULL"),
        (0x0028, 0x0002, "US", 3), (0x0028, 0x0004, "CS", "RGB"), (0x0028, 0x0006, "US", 0),
        (0x0028, 0x0008, "IS", str(across * down)), (0x0028, 0x0010, "US", tile), (0x0028, 0x0011, "US", tile),
        (0x0028, 0x0100, "US", 8), (0x0028, 0x0101, "US", 8), (0x0028, 0x0102, "US", 7), (0x0028, 0x0103, "US", 0),
        (0x0048, 0x0006, "UL", width), (0x0048, 0x0007, "UL", height), (0x0048, 0x0302, "UL", 1),
        (0x0048, 0x0303, "UL", 1), (0x5200, 0x9229, "SQ", _item(measures)), (0x7FE0, 0x0010, "OB", frames.tobytes()),
    ]  # fmt: skip
    head = bytes(128) + b"DICM" + _element(2, 0, "UL", len(meta)) + meta
    path.write_bytes(head + b"".join(_element(*one) for one in body))
    return path


def _element(group, number, kind, value):
    """Write one data element, explicit VR little endian."""
    if kind in ("US", "UL"):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    elif isinstance(value, str):
        value = value.encode()
    value += (b"\0" if kind in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH", group, number) + kind.encode()
    return head + (struct.pack("<HI", 0, len(value)) if kind in ("OB", "SQ") else struct.pack("<H", len(value))) + value


def _item(elements):
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(elements)) + elements
