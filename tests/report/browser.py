"""A real browser for tests: Chromium without a window, spoken to over two pipes (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
PATIENCE_S = 90.0


class Tab:
    """One tab: commands go out, answers come back by number, events are kept."""

    def __init__(self, out: Any, messages: Queue[dict[str, Any]]) -> None:
        self._out, self._messages = out, messages
        self._number, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; what happens meanwhile is kept in ``events``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer}"
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        try:
            return self._messages.get(timeout=PATIENCE_S)
        except Empty:
            raise AssertionError("the browser does not answer") from None

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, of a promise when it is kept."""
        told = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def open(self, path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Show a page of ours and wait until its charts are drawn."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=path.as_uri())
        wanted = f"location.href == {json.dumps(path.as_uri())} && document.documentElement?.dataset.ready == 'yes'"
        end_s = time.monotonic() + PATIENCE_S
        while not self.evaluate(wanted):
            assert time.monotonic() < end_s, "the page is not ready"
            time.sleep(0.05)

    def screenshot(self, path: Path, selector: str = "html") -> None:
        """A picture of one element, however long it is."""
        box = self.evaluate(
            f"(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def said(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of all events of these kinds so far."""
        return [event["params"] for event in self.events if event.get("method") in methods]


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """A browser with a fresh profile; it is gone afterwards."""
    assert CHROMIUM is not None
    ours_in, its_out = os.pipe()
    its_in, ours_out = os.pipe()
    # the browser reads from descriptor 3 and writes to 4, whatever the pipes are called here
    command = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
    words = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", str(its_in), str(its_out), *words],
        pass_fds=(its_in, its_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_in)
    os.close(its_out)
    messages: Queue[dict[str, Any]] = Queue()
    reader = threading.Thread(target=_read, args=(ours_in, messages), daemon=True)
    reader.start()
    try:
        with os.fdopen(ours_out, "wb") as out:
            yield Tab(out, messages)
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)


def _read(descriptor: int, messages: Queue[dict[str, Any]]) -> None:
    """Every message ends with a zero byte."""
    with os.fdopen(descriptor, "rb") as stream:
        held = b""
        while piece := stream.read1(1 << 16):  # type: ignore[attr-defined]
            *whole, held = (held + piece).split(b"\0")
            for message in whole:
                messages.put(json.loads(message))
