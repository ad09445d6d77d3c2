"""Sign the files that patchaug writes, so that it replaces only files of its own that are unchanged.

The signature is at the end of the file: a text chunk of a PNG, a comment of an HTML page, the last member of a JSON
object. It names the content and the SHA-256 of all bytes before it. Learners and checkpoints are zip files of torch; a
pickle inside them names patchaug.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

_TAIL = 400  # bytes at the end of a file that hold the signature
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
    body = path.read_bytes()
    if start.startswith(b"\x89PNG") and body.endswith(_PNG_END):
        body = body[: -len(_PNG_END)]
        path.write_bytes(body + _signature("png", body, content))
    elif start.startswith(b"<"):
        path.write_bytes(body + _signature("html", body, content))
    elif start.startswith(b"{") and body.rstrip().endswith(b"}"):
        body = body.rstrip()[:-1].rstrip()
        path.write_bytes(body + _signature("json", body, content))


def is_signed(path: str | os.PathLike[str], content: str) -> bool:
    """Return True if patchaug wrote this file with this content, and its bytes have not changed since."""
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
                body = file.read_bytes()[: -len(found["all"])]
                return found["all"] == _signature(kind, body, content)
    except OSError:
        return False
    return False


def _signature(kind: str, body: bytes, content: str) -> bytes:
    """Return the end of a file of some kind whose other bytes are `body`."""
    mark = f"patchaug {content} sha256={sha256(body).hexdigest()}".encode()
    if kind == "png":
        text = b"tEXtComment\0" + mark
        return struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + _PNG_END
    if kind == "html":
        return b"\n<!-- " + mark + b" -->\n"
    return (b"" if body.endswith(b"{") else b",") + b'\n  "written_by": "' + mark + b'"\n}\n'


def _is_torch_file(file: Path) -> bool:
    """Return True if the pickle inside a zip file of torch names patchaug: of a learner on slides, or a checkpoint."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/data.pkl") and b"patchaug" in archive.read(name) for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return False
