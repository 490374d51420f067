"""Headless Chromium, driven over a pipe: for the tests of pages."""

import json
import os
import select
import shutil
import subprocess
import time

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OPTIONS = [
    "--headless",
    "--no-sandbox",  # which root does not get
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
]
KEYS = {
    **{"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Tab": 9},
    **{" ": 32, "1": 49, "]": 221},
}


class Browser:
    """One page of Chromium, spoken to in the DevTools protocol: JSON, ended by a zero byte."""

    def __init__(self, profile):
        # Chromium reads commands from file descriptor 3 and answers on 4.
        commands, self.write_end = os.pipe()
        self.read_end, answers = os.pipe()
        # Through a shell, as a child's descriptors 3 and 4 cannot be named otherwise.
        redirect = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        self.process = subprocess.Popen(
            ["bash", "-c", redirect, CHROMIUM, *OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_end], [], [], 30)
            assert ready, "Chromium does not answer"
            part = os.read(self.read_end, 1 << 20)
            assert part, "Chromium ended"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width=1200, fragment=""):
        self.events.clear()
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Page.navigate", url="about:blank")  # another fragment alone would load nothing
        self.send("Page.navigate", url=path.as_uri() + fragment)
        deadline = time.monotonic() + 20
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.02)

    def run(self, script):
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key):
        event = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def draw(self, *points):
        """Press at the first point, move through the others, let go."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.mouse("mousePressed", *points[0], **held)
        for point in points[1:]:
            self.mouse("mouseMoved", *point, **held)
        self.mouse("mouseReleased", *points[-1], button="left", clickCount=1)

    def touch(self, *points):
        """The same with a finger."""
        for index, (x, y) in enumerate(points):
            kind = "touchMove" if index else "touchStart"
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def requested(self):
        """The addresses that the page has asked for since it was opened."""
        asked = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in asked]

    def problems(self):
        """Exceptions, and whatever the page has written to the console."""
        self.run("1")  # after which earlier events have come
        wrong = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [event for event in self.events if event.get("method") in wrong]

    def close(self):
        self.session = None
        self.send("Browser.close")
        self.process.wait(20)
        os.close(self.write_end)
        os.close(self.read_end)


# The least contrast of all texts, and how light the page is.
CONTRAST = """(() => {
    const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const value = part / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ground = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        const above = element.parentElement;
        return colour !== "rgba(0, 0, 0, 0)" || !above ? colour : ground(above);
    };
    const texts = "p, li, th, td, h1, h2, h3, label, output, legend, figcaption, code, span";
    const written = [...document.querySelectorAll(texts)].filter((e) => e.textContent.trim());
    const ratios = written.map((element) => {
        const [one, other] = [light(getComputedStyle(element).color), light(ground(element))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    });
    return [Math.min(...ratios), light(getComputedStyle(document.body).backgroundColor)];
})()"""
