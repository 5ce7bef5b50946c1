"""A headless Chromium, driven over its DevTools protocol by a pipe: no package needed, no port opened."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-extensions",
    "--disable-dev-shm-usage", "--disable-background-networking", "--window-size=1100,900",
)  # fmt: skip
SECONDS = 60


def find() -> str | None:
    """The browser on the path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser refused a call, or did not answer."""


class Page:
    """One tab."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._serial, self._rest, self._session, self._loads = 0, b"", None, 0
        self.errors: list[str] = []
        """Uncaught exceptions and messages of the kind `error`."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        self._serial += 1
        message = {"id": self._serial, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._serial:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise BrowserError("the browser has ended")
            self._rest += part
        first, self._rest = self._rest.split(b"\0", 1)
        return json.loads(first)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        self._loads += event.get("method") == "Page.loadEventFired"
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise BrowserError(result["exceptionDetails"]["exception"].get("description", expression))
        return result["result"].get("value")

    def open(self, url: str) -> None:
        before = self._loads
        self.call("Page.navigate", url=url)
        while self._loads == before:
            self._note(self._next())

    def wait_for(self, condition: str) -> None:
        """Until JavaScript gives a true value; BrowserError if that takes too long."""
        stop = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > stop:
                raise BrowserError(f"waited {SECONDS} s for {condition}; {self.errors}")
            time.sleep(0.02)

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Presses the mouse, moves it through the points (in the window), and lets go."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self) -> str:
        """A PNG in base64."""
        return str(self.call("Page.captureScreenshot")["data"])


@contextlib.contextmanager
def browse(program: str) -> Iterator[Page]:
    """A page of a browser of its own, which ends with the block."""
    watchdog = None
    with tempfile.TemporaryDirectory(prefix="cnncc-browser-", ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium's sandbox refuses to work for root
        (from_us, commands), (answers, to_us) = os.pipe(), os.pipe()
        pipes = [(os.POSIX_SPAWN_DUP2, from_us, 3), (os.POSIX_SPAWN_DUP2, to_us, 4)]
        quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        for end in (from_us, to_us):
            os.set_inheritable(end, True)
        process = os.posix_spawn(program, command, os.environ, file_actions=[*pipes, *quiet], setpgroup=0)
        os.close(from_us)
        os.close(to_us)
        try:
            watchdog = threading.Timer(4 * SECONDS, os.killpg, (process, signal.SIGKILL))
            watchdog.start()
            yield Page(commands, answers)
        finally:
            if watchdog is not None:
                watchdog.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(commands)
            os.close(answers)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """A static file server on this machine, as its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing."""


def build_site(folder: Path, cnncc: list[str], root: Path) -> None:
    """The page of `examples/web` with its network and samples, ready to be served."""
    shutil.copytree(root / "examples/web", folder, dirs_exist_ok=True)
    shutil.copytree(root / "examples/digits", folder / "digits", dirs_exist_ok=True)
    net = root / "models/lenet5.net"
    command = [*cnncc, "compile", str(net), "--target", "wasm32", "-o", str(folder / "lenet5")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
