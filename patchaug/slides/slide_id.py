"""The number by which the windows of a slide are drawn: a hash of its name."""

from __future__ import annotations

from hashlib import blake2b
from unicodedata import normalize


def id_of(name: str) -> int:
    """Return the hash of a slide's name, below 2^32; the same on every machine, however it composes letters."""
    composed = normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(composed, digest_size=4).digest(), "little")
