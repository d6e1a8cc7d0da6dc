"""The page of a run is drawn, sorted and clicked on in a browser that has no network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium, sized
from PIL import Image

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")
pytest.importorskip("plotly", reason="plotly is not installed")


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a network."""
    with chromium() as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield driver


def test_in_a_browser_without_a_network(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    def pixels(selector: str) -> np.ndarray:
        """The grey values of an element, in a picture of the whole page."""
        place = browser.execute_script(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [r.left, r.top + scrollY, r.right, r.bottom + scrollY]", selector,
        )  # fmt: skip
        return np.asarray(whole.crop(tuple(map(round, place))), float)

    def visible(trace: int) -> Any:
        return browser.execute_script(
            "return document.getElementById('figure-loss').data[arguments[0]].visible", trace
        )

    def traces() -> list[str]:
        script = "return document.getElementById('figure-precision').data.map((t) => t.name)"
        return browser.execute_script(script)

    sized(browser, 1280)
    browser.get(page.as_uri())
    assert browser.title == "mask_rcnn_shapes", "no name was run"
    drawn = browser.find_elements(By.CSS_SELECTOR, ".figure svg.main-svg")
    assert len(drawn) >= 6
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    whole = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("L")
    for name in ("loss", "measures", "rate", "time", "precision", "confusion"):
        assert pixels(f"#figure-{name}").std() > 5, name
    assert pixels("figure img").std() > 20

    # A click on the legend hides a curve.
    assert visible(0) in (None, True)
    legend = "#figure-loss .legend .traces:first-child .legendtoggle"
    browser.execute_script("arguments[0].scrollIntoView()", drawn[0])
    toggle = browser.find_element(By.CSS_SELECTOR, legend)
    browser.execute_script(
        "for (const kind of ['mousedown', 'mouseup', 'click'])"
        "arguments[0].dispatchEvent(new MouseEvent(kind, {bubbles: true}))", toggle,
    )  # fmt: skip
    WebDriverWait(browser, 5).until(lambda _: visible(0) == "legendonly")

    # A class draws its curve, from the table or from the list, and goes again.
    means = traces()
    first = browser.find_element(By.CSS_SELECTOR, "#classes tbody button")
    first.click()
    assert len(traces()) == len(means) + 1
    assert traces()[-1].startswith("&lt;script&gt;"), "plotly shows it as it is"
    first.click()
    assert traces() == means
    Select(browser.find_element(By.ID, "class-chosen")).select_by_visible_text("square")
    assert traces()[-1] == "square, IoU 0.5"

    # A heading sorts.
    browser.find_element(By.CSS_SELECTOR, "#classes th:nth-child(2) button").click()
    counts = [c.text for c in browser.find_elements(By.CSS_SELECTOR, "#classes td:nth-child(2)")]
    assert counts == sorted(counts, key=int, reverse=True)

    widest = "return document.documentElement.scrollWidth"
    for width in (1280, 360):
        sized(browser, width)
        WebDriverWait(browser, 5).until(
            lambda _, w=width: w - 20 < browser.execute_script(widest) <= w
        )
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(printed["data"]) > 100_000

    assert browser.get_log("browser") == []
    sent = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    requests = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    addresses = {params["request"]["url"].partition(":")[0] for params in requests}
    assert addresses <= {"file", "data", "blob"}
