"""A headless Chromium that is driven by its own protocol, over a pipe: real keys and touches."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 60
_CODES = {"Enter": 13, " ": 32, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37}


def find_browser() -> str:
    """Return the path of a browser; skip the test where there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(
            "NO BROWSER: none of " + ", ".join(BROWSERS) + " is installed (Debian: apt-get install "
            "chromium), so how pages look and that nothing in them runs is NOT tested"
        )
    return browser


class Tab:
    """A page in a browser. `requests` are the addresses that it asked for."""

    def __init__(self, process: subprocess.Popen, commands: int, answers: int) -> None:
        self._process, self._commands, self._answers = process, commands, answers
        self._number, self._read = 0, b""
        self._session: str | None = None
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._call(f"{domain}.enable")

    def open(self, file: Path, downloads: Path | None = None) -> None:
        """Open a local file; what it downloads goes to a folder."""
        if downloads is not None:
            self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self._call("Page.navigate", url=file.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def reload(self) -> None:
        """Load the page again."""
        self.run("window.isOld = true")
        self._call("Page.reload")
        self.wait("!window.isOld && document.readyState === 'complete'")

    def press(self, *keys: str) -> None:
        """Press keys, by their names in JavaScript."""
        for key in keys:
            code = _CODES.get(key, ord(key[0].upper()))
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            named = {"key": key, "windowsVirtualKeyCode": code}
            self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
            self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    def tap(self, selector: str) -> None:
        """Touch the middle of an element."""
        box = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        point = {"x": box[0], "y": box[1]}
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def run(self, script: str) -> Any:
        """Return what an expression is in the page."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def text(self, element_id: str) -> str:
        """Return the text of an element as it is shown."""
        return str(self.run(f"document.getElementById({json.dumps(element_id)}).innerText"))

    def wait(self, condition: str) -> None:
        """Wait until an expression holds in the page."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.05)

    def download(self, selector: str, folder: Path) -> Path:
        """Click on what downloads a file into the folder of `open`, and return the file."""
        before = set(folder.iterdir())
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            new = {one for one in folder.iterdir() if one.suffix != ".crdownload"} - before
            if new:
                return new.pop()
            time.sleep(0.05)
        raise AssertionError(f"nothing was downloaded by {selector}")

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Give the page a screen, in CSS pixels; a phone has touch and no mouse."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )
        self._call("Emulation.setTouchEmulationEnabled", enabled=is_phone)

    def screenshot(self, file: Path) -> None:
        """Write what the screen shows as PNG."""
        shot = self._call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = os.read(self._answers, 1 << 20)
            assert more, f"the browser ended: {self._process.poll()}"
            self._read += more
        first, self._read = self._read.split(b"\0", 1)
        return dict(json.loads(first))


@contextmanager
def open_tab(profile: Path) -> Iterator[Tab]:
    """Start a browser with a profile of its own, and end it."""
    # The browser reads commands from descriptor 3 and answers on descriptor 4.
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    wrapped = f'exec "$@" 3<&{commands_out} 4>&{answers_in}'
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    )
    process = subprocess.Popen(
        ["bash", "-c", wrapped, "bash", find_browser(), *flags],
        pass_fds=(commands_out, answers_in),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_out)
    os.close(answers_in)
    try:
        yield Tab(process, commands_in, answers_out)
    finally:
        process.terminate()
        process.wait()
        os.close(commands_in)
        os.close(answers_out)
