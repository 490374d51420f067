"""The inspection page in a real browser: headless Chromium, driven over a pipe."""

import json
import os
import select
import shutil
import subprocess
import time
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from dilated_ce.inspection import measure, write_page
from dilated_ce.study.data.cases import Case, CaseSource, DataSet, Split

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
RADII = (0, 2, 5, float("inf"))
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
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Tab": 9}


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

    def open(self, path, width=1200):
        self.events.clear()
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Page.navigate", url=path.as_uri())
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

    def close(self):
        self.session = None
        self.send("Browser.close")
        self.process.wait(20)
        os.close(self.write_end)
        os.close(self.read_end)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def same(case):
    return case


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with three cases, and what it holds."""
    y, x = np.mgrid[:48, :64]
    sources = []
    for radius in (4, 8, 14):
        labels = ((y - 24) ** 2 + (x - 30) ** 2 <= radius**2).astype(np.uint8)
        labels[24, 30] = 2
        case = Case(f"case with a rather long name {radius}", x[None].astype(np.float32), labels)
        sources.append(CaseSource(case.name, partial(same, case), case.name))
    names = tuple(source.name for source in sources)
    data = DataSet(
        name="a_data_set_whose_name_is_long_and_has_no_spaces_in_it",
        source="Made up.",
        classes=("background", "organ", "a lesion with a long name"),
        channels=("grey",),
        spatial_dims=2,
        unit="px",
        ignore_index=None,
        cases=tuple(sources),
        folds=(Split(names, (), ()),),
        split="All are for training.",
    )
    path = tmp_path_factory.mktemp("page") / "inspect.html"
    measured = measure(data, RADII)
    write_page(path, data, measured, arguments=("a folder/" + 20 * "long",))
    return path, measured


SHOWN = """({
    name: document.getElementById("name").textContent,
    spoken: document.getElementById("radius").getAttribute("aria-valuetext"),
    masks: document.getElementById("masks1").src,
    weights: document.getElementById("weights1").src,
    alt: document.getElementById("weights1").alt,
    numbers: [...document.querySelectorAll("#places td")].map((cell) => cell.textContent),
    row: document.querySelector("#volumes tr.now th").textContent,
    bars: [...document.querySelectorAll(".bar")].filter((bar) => bar.checkVisibility()).length,
})"""


def test_the_slider_works_by_keyboard_and_changes_all_that_depends_on_it(browser, page):
    path, measured = page
    browser.open(path)
    frames = browser.run('JSON.parse(document.getElementById("frames").textContent)')
    browser.run('document.getElementById("radius").focus()')
    browser.press("Home")
    for index, radius in enumerate(RADII):
        frame, shown = frames[index], browser.run(SHOWN)
        assert shown["name"] == shown["spoken"] == frame["name"]
        assert shown["masks"] == frame["masks"][1]
        assert shown["weights"] == frame["data"]["weights"][1]
        assert shown["alt"] == frame["data"]["alt"][1]
        means, shares = shown["numbers"][1:6:2], shown["numbers"][0:6:2]
        assert means == frame["data"]["means"]
        assert shares == frame["data"]["shares"]
        assert shown["numbers"][-1] == frame["data"]["imbalance"]
        foreground = measured.weights_at(radius, "data")["foreground"]
        assert float(means[0]) == pytest.approx(foreground, rel=0.01)
        assert shown["row"] == ("∞" if radius == float("inf") else str(radius))
        assert shown["bars"] == 1
        browser.press("ArrowRight")
    assert browser.run(SHOWN)["name"] == "∞ (plain CE)"  # it ends there
    browser.press("ArrowLeft")
    assert browser.run(SHOWN)["name"] == "5 px"


def test_the_scope_of_the_volumes_can_be_chosen_by_keyboard(browser, page):
    browser.open(page[0])
    frames = browser.run('JSON.parse(document.getElementById("frames").textContent)')
    before = browser.run(SHOWN)
    index = int(browser.run('document.getElementById("radius").value'))
    browser.run('document.getElementById("radius").focus()')
    browser.press("Tab")
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.value") == "image"
    after = browser.run(SHOWN)
    assert after["weights"] == frames[index]["image"]["weights"][1] != before["weights"]
    assert after["numbers"][1:6:2] == frames[index]["image"]["means"]
    assert after["masks"] == before["masks"]
    assert after["bars"] == 1


def test_it_works_offline_and_without_errors(browser, page):
    browser.open(page[0])
    browser.run('document.getElementById("radius").focus()')
    browser.press("End")
    browser.run("1")
    urls = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert page[0].as_uri() in urls
    assert all(url.startswith(("data:", "file:")) for url in urls)
    wrong = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    assert not [event for event in browser.events if event.get("method") in wrong]
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert browser.run(loaded)


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_sticks_out(browser, page, width):
    browser.open(page[0], width)
    assert browser.run("document.scrollingElement.scrollWidth") <= width
    # What is wider can be scrolled, by keyboard too.
    assert browser.run("""[...document.querySelectorAll(".scroll, pre")].every(
        (box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)""")
    ticks = """[...document.querySelectorAll(".bar:not([hidden]) .marks span")].map(
        (tick) => [tick.getBoundingClientRect().left, tick.getBoundingClientRect().right])"""
    places = browser.run(ticks)
    assert len(places) >= 2
    assert all(right < left for (_, right), (left, _) in pairwise(places))


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
    const ratios = [...document.querySelectorAll(texts)].map((element) => {
        const [one, other] = [light(getComputedStyle(element).color), light(ground(element))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    });
    return [Math.min(...ratios), light(getComputedStyle(document.body).backgroundColor)];
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_light_and_in_the_dark(browser, page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.send("Emulation.setEmulatedMedia", features=features)
    browser.open(page[0])
    contrast, ground = browser.run(CONTRAST)
    assert contrast >= 4.5  # WCAG 2.2, level AA
    assert (ground > 0.5) == (scheme == "light")


def test_everything_has_a_name(browser, page):
    """As assistive technology sees it."""
    browser.open(page[0])
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    wanted = {"slider", "radio", "image", "region", "table"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and node["role"]["value"] in wanted
    ]
    roles = {role for role, _ in found}
    assert {"slider", "radio", "image", "region"} <= roles
    assert [item for item in found if not item[1] and item[0] != "table"] == []
    assert ("slider", "Radius R") in found
