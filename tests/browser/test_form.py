"""A form drawn from the schema by a public library posts options that patchaug accepts."""

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from patchaug import PatchOptions
from tests.browser.chrome import Chrome

LIBRARY, VERSION = "@json-editor/json-editor", "2.17.2"
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>Options</title><link rel="icon" href="data:,">
<style>body {{ font: 14px sans-serif; max-width: 60em; margin: 1em auto }} .form-control {{ margin: .4em 0 }}</style>
<h1>Options</h1><div id="form"></div><button id="send">train</button><p id="answer"></p>
<script src="/library.js"></script>
<script>
const editor = new JSONEditor(document.getElementById("form"), {{ schema: {schema}, theme: "html",
  show_errors: "always", disable_edit_json: true, disable_properties: true, disable_collapse: true }});
document.getElementById("send").onclick = async () => {{
  const sent = await fetch("/options", {{ method: "POST", body: JSON.stringify(editor.getValue()) }});
  document.getElementById("answer").textContent = await sent.text();
}};
</script>"""


@functools.cache
def library() -> Path | None:
    """The library's script; installed by npm into the user's cache, once."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "patchaug-tests" / f"json-editor-{VERSION}"
    script = home / "node_modules" / LIBRARY / "dist" / "jsoneditor.js"
    if not script.exists() and shutil.which("npm"):
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{LIBRARY}@{VERSION}"]
        try:
            subprocess.run(command, cwd=home, capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return None
    return script if script.exists() else None


class Server(ThreadingHTTPServer):
    """Serves the form, and reads what it posts as a web application would."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.posted = folder, list[PatchOptions]()


class Handler(BaseHTTPRequestHandler):
    """Two pages and a place to post to."""

    server: Server

    def do_GET(self) -> None:
        """The page, or the library."""
        if self.path == "/library.js":
            self._answer((library() or Path()).read_bytes(), "text/javascript")
        else:
            schema = json.dumps(PatchOptions.model_json_schema()).replace("<", "\\u003c")
            self._answer(PAGE.format(schema=schema).encode(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """Options as JSON: read as strictly as a file of a user's."""
        path = self.server.folder / "posted.json"
        path.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.server.posted.append(PatchOptions.from_file(path))
            self._answer(b"accepted", "text/plain")
        except Exception as error:
            self._answer(str(error).encode(), "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The server, where the library can be had."""
    if library() is None:
        pytest.skip(f"{LIBRARY} {VERSION} is not here, and npm could not install it")
    with Server(tmp_path) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def form(chrome: Chrome, server: Server) -> Chrome:
    """The form, opened."""
    chrome.problems.clear()
    chrome.open(f"http://127.0.0.1:{server.server_port}/")
    chrome.until("editor.ready")
    return chrome


def fill(form: Chrome, name: str, value: object) -> None:
    """Set a field as a user does: its input changes, and says so."""
    done = form.run(f"""(() => {{
        const field = document.querySelector('[name="root[{name}]"]');
        if (!field) return false;
        field.value = {json.dumps(str(value))};
        for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, {{ bubbles: true }}));
        return true;
    }})()""")
    assert done, f"the form has no field {name}"
    form.settle()


def send(form: Chrome) -> str:
    """Press the button; the server's answer."""
    form.run("document.getElementById('answer').textContent = ''")
    form.click("#send")
    form.until("document.getElementById('answer').textContent !== ''")
    return str(form.run("document.getElementById('answer').textContent"))


def test_every_option_has_its_field(form: Chrome) -> None:
    """With its title and its help text, each option of the model."""
    text = form.run("document.getElementById('form').textContent")
    for field in PatchOptions.model_fields.values():
        assert field.title in text
        assert field.description in text
    assert not form.problems


def test_what_the_form_posts_is_accepted(form: Chrome, server: Server) -> None:
    """Filled in or left as they are, the options are those of the form."""
    fill(form, "size", 256)
    assert send(form) == "accepted"
    assert server.posted[-1] == PatchOptions(256)
    for name, value in (("size", 512), ("per_slide", 64), ("foreground", 0.25),
                        ("mode", "random-grid"), ("overlap", 32),
                        ("level", 2), ("seed", 7), ("valid", "random"), ("min_fraction", 0)):  # fmt: skip
        fill(form, name, value)
    assert send(form) == "accepted"
    assert server.posted[-1] == PatchOptions(
        512, per_slide=64, foreground=0.25, mode="random-grid", overlap=32, level=2, seed=7, valid="random"
    )


def test_the_form_knows_the_limits(form: Chrome, server: Server) -> None:
    """What is out of its limits is marked where it stands; posted all the same, it is refused in words."""
    fill(form, "size", 256)
    assert form.run("editor.validate().length") == 0
    fill(form, "foreground", 1.5)
    assert form.run("editor.validate().map((problem) => problem.path)") == ["root.foreground"]
    assert "foreground" in send(form)
    assert not server.posted
