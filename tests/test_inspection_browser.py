"""The inspection page in a real browser."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from browser import CONTRAST, Browser, needs_chromium

from dilated_ce.inspection import measure, write_page
from dilated_ce.study.data.cases import Case, CaseSource, DataSet, Split

pytestmark = needs_chromium
RADII = (0, 2, 5, float("inf"))


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
    for index, radius in enumerate(("adaptive", *RADII)):
        frame, shown = frames[index], browser.run(SHOWN)
        assert shown["name"] == shown["spoken"] == frame["name"]
        assert shown["masks"] == frame["masks"][1]
        assert shown["weights"] == frame["data"]["weights"][1]
        assert shown["alt"] == frame["data"]["alt"][1]
        means, shares = shown["numbers"][1:6:2], shown["numbers"][0:6:2]
        assert means == frame["data"]["means"]
        assert shares == frame["data"]["shares"]
        assert shown["numbers"][-1] == frame["data"]["imbalance"]
        adaptive = radius == "adaptive"
        row = measured.adaptive.places() if adaptive else measured.weights_at(radius, "data")
        assert float(means[0]) == pytest.approx(row["foreground"], rel=0.01)
        assert shown["row"] == ("∞" if radius == float("inf") else str(radius))
        assert browser.run('document.getElementById("scopes").disabled') == adaptive
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
    urls = browser.requested()
    assert page[0].as_uri() in urls
    assert all(url.startswith(("about:", "data:", "file:")) for url in urls)
    assert browser.problems() == []
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
