"""The documents as a site: built without a warning, and read in a browser."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from chromium import chromium, sized
from loopback import served
from made_once import MadeOnce

ROOT = Path(__file__).parents[1]

PAGE = """
// What scrolls in a box of its own may be wide.
const links = [...document.querySelectorAll("a[href], link[href], img[src], script[src]")];
return {
    addresses: links.map(each => each.href || each.src),
    ids: [...document.querySelectorAll("[id]")].map(each => each.id),
    wide: [...document.querySelectorAll("article *")]
        .filter(each => each.getBoundingClientRect().right > arguments[0] + 1)
        .filter(each => !each.closest(".table-wrapper, pre"))
        .map(each => each.outerHTML.slice(0, 200)),
};
"""


@pytest.fixture(scope="module")
def site(made_once: MadeOnce) -> Path:
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("sphinx is not installed")

    def build(folder: Path) -> None:
        strict = ["-W", "-n", "--keep-going", "--quiet", "-c", ROOT / "docs" / "site"]
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *strict, "-b", "html", ROOT, folder / "site"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return made_once("site", build) / "site"


@pytest.mark.whole
def test_every_page_reads_well_and_links_to_what_is_there(site: Path) -> None:
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert len(pages) >= 25
    found: dict[str, dict[str, Any]] = {}
    with served(site) as address, chromium() as browser:
        for width in (390, 1280):
            sized(browser, width)
            for page in sorted(pages):
                browser.get(f"{address}/{page}")
                found[page] = browser.execute_script(PAGE, width)
                wide = found[page]["wide"]
                assert not wide, f"{page} is wider than {width} pixels: {wide[0]}"
        said = [entry["message"] for entry in browser.get_log("browser")]
    assert not said
    for page, content in found.items():
        for link in content["addresses"]:
            if not link.startswith(address):
                assert link.startswith(("https://", "mailto:", "data:")), f"{page}: {link}"
                continue
            path, anchor = urldefrag(link.removeprefix(f"{address}/"))
            path = unquote(path).partition("?")[0]
            assert (site / path).is_file(), f"{page}: {link} is not there"
            if anchor and path in found:
                assert unquote(anchor) in found[path]["ids"], f"{page}: {link} has no such place"
