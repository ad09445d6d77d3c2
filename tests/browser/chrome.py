"""A headless Chromium, driven by the DevTools protocol: as much of it as the tests need."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def found() -> str | None:
    """The path of a Chromium on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chrome:
    """One page in a headless browser.

    Attributes:
        requests: URLs that the page has asked for.
        problems: What it has said on the console as a warning or error, and exceptions that nothing caught.
    """

    def __init__(self, width: int = 1280, height: int = 800) -> None:
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                found() or "", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={self._home.name}",
                f"--window-size={width},{height}", "--no-first-run", "--disable-background-networking", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._open = ExitStack()
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.problems: list[str] = []
        try:
            self._socket = self._open.enter_context(connect(self._target(), max_size=None))
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._do(f"{domain}.enable")
            # The window's frame takes part of --window-size: the picture is to have just this size.
            self.resize(width, height)
        except BaseException:
            self.close()
            raise

    def _target(self) -> str:
        file, end = Path(self._home.name) / "DevToolsActivePort", time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert self._process.poll() is None, "Chromium ended at once"
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        port = file.read_text().split()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                for target in json.load(answer):
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
            assert time.monotonic() < end, "Chromium opens no page"
            time.sleep(0.05)

    def _do(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                self.problems.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(json.dumps(params["entry"]))

    def open(self, url: str) -> None:
        """Open a page and wait until it is there."""
        self._do("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        self.settle()

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self._do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"never: {condition}; {self.problems}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until the page has drawn what was asked of it."""
        self.run(
            "new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 150))"
        )

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: "Moved", "Pressed", "Released", "Wheel"."""
        self._do("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, move to another, let go."""
        self.mouse("Pressed", *start, button="left", buttons=1, clickCount=1)
        self.mouse("Moved", *end, button="left", buttons=1)
        self.mouse("Released", *end, button="left", clickCount=1)
        self.settle()

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        box = self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
                       " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
                       " return [b.x + b.width / 2, b.y + b.height / 2]; })()")  # fmt: skip
        for kind in ("Pressed", "Released"):
            self.mouse(kind, *box, button="left", clickCount=1)
        self.settle()

    def key(self, key: str) -> None:
        """Press a key where the focus is."""
        self._do("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        self._do("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.settle()

    def tap(self, x: float, y: float) -> None:
        """A finger's tap."""
        self._do("Emulation.setTouchEmulationEnabled", enabled=True)
        self._do("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._do("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self._do("Emulation.setTouchEmulationEnabled", enabled=False)
        self.settle()

    def resize(self, width: int, height: int) -> None:
        """Make the page as large as this."""
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.settle()

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self._do("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        self._open.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._home.cleanup()
