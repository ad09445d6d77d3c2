"""The same pixels through servers that others wrote: nginx, and moto's S3; skipped where they are not installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from patchaug import Window, open_slide
from patchaug.errors import ReadError
from patchaug.readers.remote.client import disconnect
from patchaug.readers.urls import as_url
from patchaug.slides.discovery import get_slide_files

if importlib.util.find_spec("obstore") is None:
    pytest.skip("obstore is not installed", allow_module_level=True)

_CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/errors; {user}
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {folder}/slides; }}
}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a slide and a mask."""
    (tmp_path / "slides" / "sub").mkdir(parents=True)
    numbers = np.random.default_rng(0)
    image, mask = numbers.integers(0, 256, (300, 400, 3), np.uint8), numbers.integers(0, 2, (300, 400), np.uint8)
    tifffile.imwrite(tmp_path / "slides/sub/a b.tiff", image, tile=(64, 64), compression="jpeg")
    tifffile.imwrite(tmp_path / "slides/sub/a b_mask.tiff", mask, tile=(64, 64), compression="deflate")
    return tmp_path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server answers, for at most a minute."""
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


@pytest.fixture
def nginx(folder: Path) -> Iterator[str]:
    """nginx with its defaults, which serves the folder."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    port = free_port()
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, user=user))
    with subprocess.Popen([program, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
    disconnect()


@pytest.fixture
def moto(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's S3 with a bucket that holds the folder."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip('moto is not installed (pip install "moto[s3,server]")')
    port = free_port()
    with subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(process, port)
            server = f"http://127.0.0.1:{port}"
            put(f"{server}/bucket", b"")
            for file in (folder / "slides/sub").iterdir():
                put(f"{server}/bucket/sub/{file.name.replace(' ', '%20')}", file.read_bytes())
            for name, value in (("ACCESS_KEY_ID", "AKIA"), ("SECRET_ACCESS_KEY", "secret"), ("ENDPOINT_URL", server),
                                ("REGION", "us-east-1")):  # fmt: skip
                monkeypatch.setenv(f"AWS_{name}", value)
            disconnect()
            yield "s3://bucket"
        finally:
            process.terminate()
    disconnect()


def put(url: str, data: bytes) -> None:
    signed = "AWS4-HMAC-SHA256 Credential=AKIA/20010101/us-east-1/s3/aws4_request"  # moto does not verify it
    kind = {"Content-Type": "application/octet-stream", "Authorization": signed}
    urllib.request.urlopen(urllib.request.Request(url, data, kind, method="PUT"), timeout=60).close()


def test_nginx(nginx: str, folder: Path) -> None:
    """The same windows; and a file that was replaced is one error."""
    local = folder / "slides/sub/a b.tiff"
    slide = open_slide(f"{nginx}/sub/a%20b.tiff", f"{nginx}/sub/a%20b_mask.tiff", ram=0)
    compare(slide, folder)
    local.write_bytes(local.read_bytes() + b" ")
    with pytest.raises(ReadError, match="object changed"):
        slide.read(Window(0, 0, 400, 300))


def test_moto(moto: str, folder: Path) -> None:
    """The same windows, listing, and an error for a replaced object."""
    files = get_slide_files(moto)
    assert [as_url(file) for file in files] == ["s3://bucket/sub/a b.tiff"]
    slide = open_slide(files[0], f"{moto}/sub/a b_mask.tiff", ram=0)
    compare(slide, folder)
    put(f"{os.environ['AWS_ENDPOINT_URL']}/bucket/sub/a%20b.tiff", (folder / "slides/sub/a b_mask.tiff").read_bytes())
    with pytest.raises(ReadError, match="object changed"):
        slide.read(Window(0, 0, 400, 300))


def compare(slide: object, folder: Path) -> None:
    """Compare windows with those of the local files."""
    local = open_slide(folder / "slides/sub/a b.tiff", folder / "slides/sub/a b_mask.tiff")
    for window in (Window(0, 0, 400, 300), Window(37, 61, 130, 99)):
        found, expected = slide.read(window), local.read(window)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.mask, expected.mask)
