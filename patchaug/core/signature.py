"""Sign the files that patchaug writes, so that it replaces only files of its own that are unchanged.

The signature is at the end of the file: a text chunk of a PNG, a comment of an HTML page, the last member of a JSON
object. It names the content and the SHA-256 of all bytes before it. Learners and checkpoints are zip files of torch; a
pickle inside them names patchaug.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

_TAIL = 400  # bytes at the end of a file that hold the signature
_PART = 1 << 20  # bytes that are read at a time
_MARK = rb"patchaug (?P<content>[a-z ]+) sha256=[0-9a-f]{64}"
_PNG_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_PATTERNS = {
    "png": rb"(?s)(?P<all>.{4}tEXtComment\0" + _MARK + rb".{4}" + re.escape(_PNG_END) + rb")\Z",
    "html": rb"(?P<all>\n<!-- " + _MARK + rb" -->\n)\Z",
    "json": rb'(?P<all>,?\n *"written_by": "' + _MARK + rb'"\n\}\n)\Z',
}


def sign(path: Path, content: str) -> None:
    """Sign a PNG file, an HTML page or a JSON object; leave files of other formats as they are.

    Args:
        path: The file, whole and closed.
        content: What the file contains: lower-case words.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.json")
        ...     _ = file.write_text('{"dice": 0.9}')
        ...     sign(file, "report")
        ...     is_signed(file, "report"), is_signed(file, "manifest")
        (True, False)
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start.startswith((b"\x89PNG", b"{")) and start[:9].lower() != b"<!doctype":
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
        if start.startswith(b"\x89PNG") and tail.endswith(_PNG_END):
            kind, cut = "png", len(_PNG_END)
        elif start.startswith(b"<"):
            kind, cut = "html", 0
        elif start.startswith(b"{") and tail.rstrip().endswith(b"}"):
            kind, cut = "json", len(tail) - len(tail.rstrip()[:-1].rstrip())
        else:
            return
        digest, last = _digest(file, size - cut)
        file.seek(size - cut)
        file.truncate()
        file.write(_signature(kind, digest, last, content))


def is_signed(path: str | os.PathLike[str], content: str) -> bool:
    """Return True if patchaug wrote this file with this content, and its bytes have not changed since."""
    import zipfile

    file = Path(path)
    try:
        if zipfile.is_zipfile(file):
            return _is_torch_file(file)
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - _TAIL, 0))
            tail = stream.read()
        for kind, pattern in _PATTERNS.items():
            if (found := re.search(pattern, tail)) is not None:
                with file.open("rb") as stream:
                    digest, last = _digest(stream, size - len(found["all"]))
                return found["all"] == _signature(kind, digest, last, content)
    except OSError:
        return False
    return False


def _digest(file: BinaryIO, size: int) -> tuple[str, bytes]:
    """Return the SHA-256 of the first bytes of a file, and the last of these bytes."""
    summed, last, left = sha256(), b"", size
    file.seek(0)
    while left and (part := file.read(min(left, _PART))):
        summed.update(part)
        last, left = part[-1:], left - len(part)
    return summed.hexdigest(), last


def _signature(kind: str, digest: str, last: bytes, content: str) -> bytes:
    """Return the end of a file of some kind, by the SHA-256 of its other bytes and the last of them."""
    mark = f"patchaug {content} sha256={digest}".encode()
    if kind == "png":
        text = b"tEXtComment\0" + mark
        return struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + _PNG_END
    if kind == "html":
        return b"\n<!-- " + mark + b" -->\n"
    return (b"" if last == b"{" else b",") + b'\n  "written_by": "' + mark + b'"\n}\n'


def _is_torch_file(file: Path) -> bool:
    """Return True if the pickle inside a zip file of torch names patchaug: of a learner on slides, or a checkpoint."""
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/data.pkl") and b"patchaug" in archive.read(name) for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return False
