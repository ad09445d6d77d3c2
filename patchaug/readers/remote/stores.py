"""obstore's stores, and what they say, in words without secrets; see `engine` for who may use them."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

_STALL = 10.0  # seconds without a byte, after which a request is tried again
_FINAL = {
    "NotFoundError": "missing", "FileNotFoundError": "missing", "PreconditionError": "changed",
    "PermissionDeniedError": "denied", "UnauthenticatedError": "denied", "NotSupportedError": "unsupported",
    "InvalidPathError": "denied", "UnknownConfigurationKeyError": "denied",
}  # fmt: skip
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL|AUTHORIZATION", re.IGNORECASE)


def state_of_meta(meta: Any) -> dict[str, Any]:
    """Return size, time in nanoseconds, and ETag of an object; the time stands for an ETag that a server lacks."""
    modified = meta["last_modified"]
    tag = meta["e_tag"] or (f"modified {modified.isoformat()}" if modified.timestamp() > 0 else "")
    return {"size": meta["size"], "modified": int(modified.timestamp() * 1000) * 10**6, "tag": tag}


def kind_of(error: Exception) -> str:
    """Return the kind of `FetchError` for an error of obstore; "again" where another try may help."""
    kind = "denied" if "must be specified" in str(error) else _FINAL.get(type(error).__name__)
    status = re.search(r"status code: (4\d\d)", str(error))
    if kind is not None or status is None or status[1] in ("408", "412", "425", "429"):
        return kind or "again"
    return {"401": "denied", "403": "denied", "404": "missing"}.get(status[1], "failed")


def inside(place: str, key: str) -> str:
    """Return the path of an object in its store."""
    return unquote(key) if place.startswith("http") else key  # obstore quotes it again


def open_store(place: str, seconds: float) -> Any:
    """Open a store with what the environment says of it."""
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    scheme, _, name = place.partition("://")
    endpoints = (os.environ.get(one, "") for one in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    plain = scheme == "http" or any(one.startswith("http://") for one in endpoints)
    options: dict[str, Any] = {
        "client_options": {
            "timeout": timedelta(seconds=seconds), "read_timeout": timedelta(seconds=min(_STALL, seconds / 4)),
            "connect_timeout": timedelta(seconds=min(5.0, seconds / 4)), **({"allow_http": True} if plain else {}),
        },
        "retry_config": {"max_retries": 0},
    }  # fmt: skip
    if scheme in ("http", "https"):
        return HTTPStore.from_url(place, **options)
    return {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme](name, **options)


def describe(error: BaseException) -> str:
    """Return an error as a short text without secrets: queries of URLs, and values of secret variables."""
    text = str(error)
    reasons = re.findall(r'message: "([^"]+)"|kind: (\w+)', text)
    first = " ".join(text.partition("\n\nDebug source")[0].split())[:300]
    reason = next((message for message, _ in reversed(reasons) if message), reasons[-1][1] if reasons else "")
    text = f"{first} ({reason})" if reason and reason not in first else first
    text = re.sub(r"(://)[^/\s]*@", r"\1***@", re.sub(r"\?[^\s'\")]*", "?***", text))
    for name, value in os.environ.items():
        if len(value) > 5 and _SECRET.search(name):
            text = text.replace(value, "***")
    return text
