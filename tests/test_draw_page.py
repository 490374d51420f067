"""The page "Draw a lesion" in a real browser: its numbers are those of Python, and it works."""

import json
import math
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
import weight_maps
from browser import CONTRAST, Browser, needs_chromium
from scipy import ndimage, stats

from dilated_ce import adaptive_dilated_weights, dilated_balanced_weights

pytestmark = needs_chromium
PAGE = Path(__file__).parents[1] / "docs" / "draw.html"
IGNORED, SIDE = 255, 128
RADII = (0, 0.5, 1, math.sqrt(2), 2, 3, math.sqrt(13), 6, 11.5, 300, math.inf)
EXAMPLES = ("scene", "lesion", "tiny", "vessels", "cut", "touching")
FORWARD = """(maps, height, width, numClasses, rule) =>
    weigh(maps.map((map) => survey(Uint8Array.from(map), height, width, numClasses)), rule)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def core(browser):
    """The page, for its functions alone."""
    browser.open(PAGE)
    return browser


def as_js(value):
    """JSON, in which infinity is a word of JavaScript."""
    return json.dumps(value, default=lambda array: array.tolist())


def random_case(seed):
    """Labels (B, H, W), the number of classes, and a rule."""
    random = np.random.default_rng(seed)
    num_classes = int(random.integers(1, 7))
    shape = (int(random.integers(1, 4)), *random.integers(1, 26, 2))
    labels = np.full(shape, random.integers(num_classes))
    for _ in range(random.integers(0, 6)):  # blobs, some of them single pixels
        centre = [random.integers(side) for side in shape]
        far = np.hypot(*(np.indices(shape)[1:] - np.reshape(centre[1:], (2, 1, 1, 1))))
        labels[(far <= random.integers(0, 7)) & (np.indices(shape)[0] == centre[0])] = (
            random.integers(num_classes)
        )
    if random.random() < 0.3:  # noise
        labels = np.where(random.random(shape) < 0.2, random.integers(num_classes), labels)
    if random.random() < 0.3:
        labels[random.random(shape) < random.choice([0.1, 0.9])] = IGNORED
    rule = {
        "radius": None if random.random() < 0.4 else float(random.choice(RADII)),
        "volumes": str(random.choice(["batch", "image"])),
        "counts": None if random.random() < 0.7 else random.uniform(0.2, 4, num_classes).tolist(),
    }
    return labels, num_classes, rule


def expected(labels, num_classes, rule, dtype=np.float64):
    """The weights from the oracle, in double precision; or from the package, in single."""
    options = {"ignore_index": IGNORED, "weight": rule["counts"]}
    if rule["radius"] is not None:
        options |= {"radius": rule["radius"], "volumes": rule["volumes"]}
    if dtype is np.float64:
        weigh = oracles.adaptive_weights if rule["radius"] is None else oracles.balanced_weights
        return weigh(labels, num_classes=num_classes, **options)
    adaptive = rule["radius"] is None
    weigh = adaptive_dilated_weights if adaptive else dilated_balanced_weights
    return weigh(torch.from_numpy(labels), num_classes=num_classes, **options).numpy()


def weights_of(core, cases):
    """What the page makes of them, as arrays."""
    calls = [[labels.reshape(len(labels), -1), *labels.shape[1:], *rest] for labels, *rest in cases]
    text = as_js(calls)
    script = f"""{text}.map((call) => {{
        const {{ images, scale }} = ({FORWARD})(...call);
        return images.map((image) => Array.from(image.values, (value) => value * scale));
    }})"""
    found = core.run(script)
    return [np.reshape(f, labels.shape) for f, (labels, *_) in zip(found, cases, strict=True)]


def test_the_weights_are_those_of_python_on_200_random_maps(core):
    cases = [random_case(seed) for seed in range(200)]
    assert len({rule["radius"] for _, _, rule in cases}) == len(RADII) + 1
    for (labels, *rest), found in zip(cases, weights_of(core, cases), strict=True):
        np.testing.assert_allclose(found, expected(labels, *rest), rtol=0, atol=1e-6)
        single = expected(labels, *rest, np.float32)  # itself rounded to seven digits
        np.testing.assert_allclose(found, single, rtol=1e-6, atol=1e-6)


def examples(core):
    found = core.run("Object.keys(EXAMPLES).map((name) => [name, Array.from(drawExample(name))])")
    return {name: np.reshape(labels, (1, SIDE, SIDE)) for name, labels in found}


def test_the_weights_of_every_example_are_those_of_python(core):
    drawn = examples(core)
    assert tuple(drawn) == EXAMPLES
    radii = (None, 0, 2.5, 6, 20, math.inf)
    cases = [(labels, 4, rule_of(radius)) for labels in drawn.values() for radius in radii]
    for case, found in zip(cases, weights_of(core, cases), strict=True):
        np.testing.assert_allclose(found, expected(*case), rtol=0, atol=1e-6)


def rule_of(radius, volumes="batch"):
    return {"radius": radius, "volumes": volumes, "counts": None}


def test_the_first_example_is_the_scene_of_the_figure(core):
    np.testing.assert_array_equal(examples(core)["scene"], weight_maps.scene().numpy())


def test_distances_are_exact(core):
    random = np.random.default_rng(0)
    masks = [random.random((17, 23)) < share for share in (0.003, 0.02, 0.3, 1)]
    masks = [mask | (np.arange(23) == 4) & (np.arange(17)[:, None] == 9) for mask in masks]
    found = core.run(
        f"{as_js([mask.astype(int).ravel() for mask in masks])}"
        ".map((mask) => Array.from(squaredDistances(mask, 17, 23)))"
    )
    for mask, squared in zip(masks, found, strict=True):
        distance = ndimage.distance_transform_edt(~mask)
        np.testing.assert_array_equal(np.sqrt(squared).reshape(17, 23), distance)


def test_annotators_draw_larger_and_smaller_by_a_normal_error(core):
    errors = core.run("normalErrors(40)")
    np.testing.assert_allclose(errors, stats.norm.ppf((np.arange(40) + 0.5) / 40), atol=2e-3)
    areas = core.run("""[0, 2].map((s) => {
        const disc = survey(drawExample("lesion"), SIDE, SIDE, 4);
        return annotate(disc, s, 40).map((labels) => labels.filter((label) => label === 3).length);
    })""")
    assert set(areas[0]) == {197}  # they agree
    radii = np.sqrt(np.sort(areas[1]) / math.pi)
    np.testing.assert_allclose(radii, 8 + 2 * np.array(errors), atol=0.7)


@pytest.mark.parametrize("radius", [None, 0, 6])
@pytest.mark.parametrize("volumes", ["batch", "image"])
def test_the_border_is_where_the_weighted_share_is_one_half(core, radius, volumes):
    """From the annotators' labels, with the weights of the package."""
    rule = rule_of(radius, volumes)
    labels, winner, shares = core.run(f"""(() => {{
        const drawn = survey(drawExample("touching"), SIDE, SIDE, 4);
        const all = annotate(drawn, 2, 12).map((labels) => survey(labels, SIDE, SIDE, 4));
        const {{ winner, shares }} = predict(all, weigh(all, {as_js(rule)}));
        const plain = (arrays) => arrays.map((array) => Array.from(array));
        return [plain(all.map((image) => image.labels)), Array.from(winner), plain(shares)];
    }})()""")
    labels = np.reshape(labels, (12, SIDE, SIDE))
    weights = expected(labels, 4, rule, np.float32).astype(float)
    by_class = np.stack([(weights * (labels == c)).sum(0) for c in range(4)]) / weights.sum(0)
    np.testing.assert_allclose(np.reshape(shares, by_class.shape), by_class, atol=1e-6)
    sure = np.diff(np.sort(by_class, 0)[-2:], axis=0)[0] > 1e-5
    assert (by_class.argmax(0) == np.reshape(winner, (SIDE, SIDE)))[sure].all()


def test_balanced_ce_moves_the_border_and_dilation_puts_it_back(browser):
    areas = {}
    for radius in ("0", "2", "6", "inf"):
        browser.open(PAGE, fragment=f"#example=lesion&radius={radius}&s=2")
        wait_for(browser, "Boolean(predicted)")
        areas[radius] = browser.run("area(3)")
    assert areas["0"] > areas["2"] > areas["6"]
    borders = {radius: math.sqrt(area / math.pi) for radius, area in areas.items()}
    assert borders["0"] > 11  # the true border is at 8
    assert abs(borders["6"] - 8) < 0.3
    assert abs(borders["inf"] - 8) < 0.3


def wait_for(browser, condition):
    """Until the page has drawn a frame and the condition holds."""
    for _ in range(200):
        script = f"new Promise((done) => setTimeout(() => done({condition}), 20))"
        if browser.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )["result"].get("value"):
            return
    raise AssertionError(f"the page never came to {condition}")


IDLE = "predicted && annotations && !waiting"


def open_page(browser, width=1200, fragment=""):
    browser.open(PAGE, width, fragment)
    wait_for(browser, IDLE)


def place_of(browser, row, column, panel="drawing"):
    """Where a pixel of a map is on the screen."""
    browser.run(f'document.getElementById("{panel}").scrollIntoView({{ block: "center" }})')
    return browser.run(f"""(() => {{
        const box = document.getElementById("{panel}").getBoundingClientRect();
        return [box.left + box.width * {(column + 0.5) / SIDE},
            box.top + box.height * {(row + 0.5) / SIDE}];
    }})()""")


def test_it_shows_the_weight_under_the_pointer_on_every_map(browser):
    open_page(browser)
    weight = float(dilated_balanced_weights(weight_maps.scene(), 6, num_classes=4)[0, 30, 92])
    for panel in ("drawing", "masks", "weights", "border"):
        browser.mouse("mouseMoved", *place_of(browser, 30, 92, panel))
        text = browser.run('document.getElementById("reading").textContent')
        assert text.startswith(f"Row 30, column 92: lesion, weight {weight:.3g}. In the")
        assert "neighbourhood of background, vessel and lesion" in text
        assert "The best predictor says" in text
        assert browser.run('document.querySelectorAll(".dot:not([hidden])").length') == 4


def test_a_stroke_of_the_mouse_paints_and_undo_takes_it_back(browser):
    open_page(browser)
    before = browser.run("Array.from(state.labels)")
    browser.draw(*(place_of(browser, 110, column) for column in (10, 30, 60)))
    wait_for(browser, IDLE)
    after = np.reshape(browser.run("Array.from(state.labels)"), (SIDE, SIDE))
    assert (after[110, 10:61] == 3).all()  # no gaps, however fast it was
    assert (after[107:114, 30] == 3).all()  # a brush of 7
    assert not (after[100:105] == 3)[:, :70].any()
    found = browser.run("Array.from(weighed.images[0].values, (value) => value * weighed.scale)")
    wanted = expected(after[None], 4, rule_of(6))
    np.testing.assert_allclose(np.reshape(found, wanted.shape), wanted, atol=1e-6)
    browser.run('document.getElementById("undo").click()')
    assert browser.run("Array.from(state.labels)") == before
    wait_for(browser, 'document.getElementById("undo").disabled')  # there is nothing more
    assert browser.problems() == []


def test_a_finger_paints_and_does_not_scroll(browser):
    open_page(browser, 400)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
    points = [place_of(browser, row, 64) for row in (110, 116, 122)]
    scrolled = browser.run("scrollY")
    browser.touch(*points)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=False)
    wait_for(browser, IDLE)
    labels = np.reshape(browser.run("Array.from(state.labels)"), (SIDE, SIDE))
    assert (labels[110:123, 64] == 3).all()
    assert browser.run("scrollY") == scrolled
    assert browser.run('document.getElementById("reading").textContent').startswith("Row 1")


def test_it_can_be_drawn_and_read_by_keyboard_alone(browser):
    open_page(browser)
    browser.run('document.getElementById("clear").click()')
    wait_for(browser, IDLE)
    browser.run('document.getElementById("drawing").focus()')
    for key in ("1", "]", " ", *["ArrowRight"] * 3):
        browser.press(key)
    wait_for(browser, IDLE)
    labels = np.reshape(browser.run("Array.from(state.labels)"), (SIDE, SIDE))
    assert set(np.unique(labels)) == {0, 1}
    assert (labels == 1).sum() == (labels[60:70, 60:70] == 1).sum() == pytest.approx(50, abs=12)
    text = browser.run('document.getElementById("reading").textContent')
    assert text.startswith("Row 64, column 67: organ, weight ")
    assert browser.run('document.getElementById("reading").getAttribute("aria-live")') == "polite"
    assert browser.run('document.querySelector("input[name=paint]:checked").value') == "1"
    # The slider, too.
    browser.run('document.getElementById("radius").focus()')
    browser.press("Home")
    wait_for(browser, IDLE)
    assert browser.run('document.getElementById("radius-name").textContent') == "0 px: balanced CE"
    assert browser.run("weighed.images[0].radii[1]") == 0


def test_the_adaptive_rule_has_no_radius_to_choose(browser):
    open_page(browser)
    browser.run('document.querySelector("input[value=adaptive]").click()')
    wait_for(browser, IDLE)
    assert browser.run('document.getElementById("radius").disabled')
    radii = browser.run(
        '[...document.getElementById("table").rows].map((r) => r.cells[2].innerText)'
    )
    wanted = oracles.adaptive_radii(weight_maps.scene().numpy(), 4)[0]
    assert radii == [f"{radius:.2f}".rstrip("0").rstrip(".") for radius in wanted]
    assert "adaptive_dilated_weights(labels, num_classes=4)" in browser.run(
        'document.getElementById("code").textContent'
    )


def test_the_line_of_python_gives_the_map(browser):
    """With a radius, a class that counts twice, and pixels without a label."""
    open_page(browser, fragment="#example=cut&radius=2.5")
    browser.run("""{
        state.labels.fill(IGNORED, 0, 10 * SIDE);
        const select = document.querySelector("[data-class='3']");
        select.value = 2;
        select.dispatchEvent(new Event("change", { bubbles: true }));
        update({ drawn: true });
    }""")
    wait_for(browser, IDLE)
    line = browser.run('document.getElementById("code").textContent').splitlines()[0]
    labels = np.reshape(browser.run("Array.from(state.labels)"), (1, SIDE, SIDE))
    names = {"labels": torch.from_numpy(labels), "math": math}
    wanted = eval(line, {"dilated_balanced_weights": dilated_balanced_weights}, names).numpy()
    found = browser.run("Array.from(weighed.images[0].values, (value) => value * weighed.scale)")
    np.testing.assert_allclose(np.reshape(found, wanted.shape), wanted, rtol=1e-6)
    assert "weight=[1, 1, 1, 2], ignore_index=255" in line


def test_every_control_can_be_used_without_an_error(browser):
    open_page(browser)
    browser.run("""{
        for (const button of document.querySelectorAll("input[type=radio]")) button.click();
        for (const slider of document.querySelectorAll("input[type=range]")) {
            for (const value of [slider.min, slider.max]) {
                slider.value = value;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
            }
        }
        for (const select of document.querySelectorAll("select")) {
            for (const option of select.options) {
                select.value = option.value;
                select.dispatchEvent(new Event("change", { bubbles: true }));
            }
        }
        for (const name of ["undo", "clear", "undo"]) document.getElementById(name).click();
        state.labels.fill(IGNORED);
        update({ drawn: true });
    }""")
    wait_for(browser, IDLE)
    browser.mouse("mouseMoved", *place_of(browser, 5, 5))
    assert "not labelled" in browser.run('document.getElementById("reading").textContent')
    assert "NaN" not in browser.run("document.body.innerText")
    assert browser.problems() == []


def test_it_is_one_file_that_works_offline(browser):
    open_page(browser)
    urls = browser.requested()
    assert all(url.startswith(("about:", "data:", PAGE.as_uri())) for url in urls)
    assert PAGE.as_uri() in urls
    assert browser.problems() == []


@pytest.mark.parametrize("width", [400, 800, 1200, 1600])
def test_nothing_sticks_out(browser, width):
    open_page(browser, width)
    assert browser.run("document.scrollingElement.scrollWidth") <= width
    assert browser.run("""[...document.querySelectorAll(".scroll, pre")].every(
        (box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)""")
    sides = browser.run("panels.map((panel) => panel.clientWidth)")
    assert min(sides) >= 240
    assert browser.run("panels.every((panel) => panel.width >= panel.clientWidth)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_light_and_in_the_dark(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.send("Emulation.setEmulatedMedia", features=features)
    open_page(browser)
    contrast, ground = browser.run(CONTRAST)
    corner = browser.run("""[...document.getElementById("drawing").getContext("2d")
        .getImageData(5, 5, 1, 1).data]""")
    browser.send("Emulation.setEmulatedMedia", features=[])
    assert contrast >= 4.5  # WCAG 2.2, level AA
    assert (ground > 0.5) == (scheme == "light") == (corner[0] > 127)


def test_everything_has_a_name(browser):
    open_page(browser)
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    wanted = {"slider", "radio", "image", "region", "button", "combobox", "application", "group"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and node["role"]["value"] in wanted
    ]
    assert {role for role, _ in found} == wanted
    assert [item for item in found if not item[1]] == []
