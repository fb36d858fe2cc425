"""A headless Chromium driven over the pipe of its DevTools protocol: no driver, no port and no package needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path
from threading import Timer
from typing import IO, Any, cast

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
TIMEOUT_S = 30.0


class Browser:
    """One page of one browser; commands are those of https://chromedevtools.github.io/devtools-protocol/."""

    def __init__(self, profile: Path) -> None:
        # The protocol's pipe is on descriptors 3 (to the browser) and 4 (from it); messages end in NUL.
        command = ["sh", "-c", 'exec "$@" 3<&0 4>&1 >/dev/null 2>&1 </dev/null', "sh", str(CHROMIUM), *FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._number = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send one command and return its result; the browser is ended when it does not answer in time."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        stream = cast("IO[bytes]", self._process.stdin)
        stream.write(json.dumps(message).encode() + b"\0")
        stream.flush()
        timer = Timer(TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            answer = self._answer(self._number)
        finally:
            timer.cancel()
        assert "error" not in answer, answer
        return answer["result"]

    def _answer(self, number: int) -> Any:
        while True:
            message = json.loads(self._message())
            if message.get("id") == number:
                return message

    def _message(self) -> bytes:
        stream = cast("IO[bytes]", self._process.stdout)
        data = bytearray()
        while (byte := stream.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        return bytes(data)

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page of the report and wait until its script has run."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.documentElement?.dataset.readyMs")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str) -> Any:
        """The expression's value, once it is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := self.run(script)):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.05)
        return found

    def press(self, key: str) -> None:
        """Press and release a key; Enter also types its character, as a keyboard does."""
        text = {"text": "\r"} if key == "Enter" else {}
        code = {"Enter": 13, "Tab": 9}.get(key, 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(b64decode(found["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait(TIMEOUT_S)
