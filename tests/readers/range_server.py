"""A small server of ranges over loopback, with faults on request: errors, cut answers, stalls, delays, wrong ranges."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Fault = Callable[[int, str], str | None]  # (number of the request, path) -> name of a fault, or None


class RangeServer(http.server.ThreadingHTTPServer):
    """Serves `files`, which may change at any time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.fault: Fault = lambda number, path: None
        self.delay = 0.0
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, range
        self.headers: list[str] = []  # all headers that came
        self.counting = threading.Lock()
        self.most_at_once = self.now = 0
        self.open = threading.Event()  # where it is cleared, requests for ranges wait until two are there
        self.open.set()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """The server's own URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent where a client has gone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        server, path = self.server, unquote(urlsplit(self.path).path)
        with server.counting:
            server.now += 1
            server.most_at_once = max(server.most_at_once, server.now)
            number = len(server.requests)
            server.requests.append((self.command, path, self.headers.get("Range")))
            server.headers.append(str(self.headers))
            if server.now > 1:
                server.open.set()
        if not (self.headers.get("Range") or "bytes=0-").startswith("bytes=0-"):  # a header is read alone
            server.open.wait(5)
        try:
            if server.delay:
                time.sleep(server.delay)
            self._send(path, server.fault(number, path), body)
        finally:
            with server.counting:
                server.now -= 1

    def _list(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """Answer as S3 lists: all objects below a prefix, or those up to the next slash and folders."""
        prefix, deep = query.get("prefix", [""])[0], "delimiter" not in query
        files = {name[len(bucket) + 1 :]: data for name, data in self.server.files.items() if name.startswith(bucket)}
        names = sorted(name for name in files if name.startswith(prefix))
        inside = set() if deep else {name for name in names if "/" in name[len(prefix) :]}
        rows = [
            f"<Contents><Key>{escape(name)}</Key><LastModified>2001-09-09T01:46:40.000Z</LastModified>"
            f"<ETag>{escape(tag_of(files[name]))}</ETag><Size>{len(files[name])}</Size></Contents>"
            for name in names
            if name not in inside
        ]
        folders = {name[: name.index("/", len(prefix)) + 1] for name in inside}
        rows += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders]
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>".encode()

    def _send(self, path: str, fault: str | None, body: bool) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query and fault is None:
            return self._reply(200, self._list(path.strip("/"), query), {"Content-Type": "application/xml"}, body)
        data = self.server.files.get(path.lstrip("/"))
        if fault == "stall":
            self.server.ended.wait(30)
            self.close_connection = True
            return None
        if fault == "error":
            return self._reply(503, b"busy", {}, body)
        if fault == "denied":
            return self._reply(403, b"no", {}, body)
        if data is None:
            return self._reply(404, b"none", {}, body)
        tag = tag_of(data)
        headers = {"ETag": tag, "Last-Modified": formatdate(1e9, usegmt=True), "Accept-Ranges": "bytes"}
        if fault == "untagged":
            headers = {}
        if self.headers.get("If-Match") not in (None, tag) and fault != "careless":
            return self._reply(412, b"", headers, body)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None or fault == "whole":
            return self._reply(200, data, headers, body)
        start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        if start >= stop:
            return self._reply(416, b"", {"Content-Range": f"bytes */{len(data)}"}, body)
        if fault == "shifted":
            start, stop = (start + 1, stop + 1) if stop < len(data) else (start - 1, stop - 1)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self._reply(206, data[start:stop], headers, body, cut=fault == "cut")

    def _reply(self, code: int, data: bytes, headers: dict[str, str], body: bool, cut: bool = False) -> None:
        lines = [f"HTTP/1.1 {code} -", f"Content-Length: {len(data)}", *(f"{k}: {v}" for k, v in headers.items())]
        text = "\r\n".join([*lines, "", ""]).encode() + (data if body else b"")
        if cut:
            text = text[: -len(data) // 2]
            self.close_connection = True
        self.wfile.write(text)  # at once: two small packets would wait for each other


def tag_of(data: bytes) -> str:
    """Return the ETag of a file."""
    return f'"{hashlib.md5(data).hexdigest()}"'


def read_into(raster: Any, window: Any, queue: Any) -> None:
    """Read a window in another process; here, because this file is quickly imported."""
    queue.put(raster.read(window))


@contextmanager
def serving() -> Iterator[RangeServer]:
    """Run a server until the block ends."""
    server = RangeServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
