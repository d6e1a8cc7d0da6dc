"""The page of a run: what is on it, for which folders, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")
pytest.importorskip("plotly", reason="plotly is not installed")

from run_folder import HOSTILE, STEPS, make_run

from resnext_backbones.cli import main
from resnext_backbones.engine import record
from resnext_backbones.reports.page import FILE_NAME
from resnext_backbones.reports.page.scores import Evaluated, matches
from resnext_backbones.reports.page.write import write_report
from resnext_backbones.tasks.torchvision.metrics import coco_scores

SECTIONS = [
    "trained", "data", "curves", "measured", "precision", "confusion", "images", "memory", "time",
]  # fmt: skip


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def page(work_dir: Path) -> Path:
    said: list[str] = []
    path = write_report(work_dir, work_dir / FILE_NAME, say=said.append)
    assert not said
    return path


class Read(HTMLParser):
    """What a page has: its sections, the text of each, its tags, and the addresses it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: dict[str, str] = {}
        self._in = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "section":
            self._in = given["id"] or ""
            self.text[self._in] = ""
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag == "section" else self._in

    def handle_data(self, data: str) -> None:
        if self._in:
            self.text[self._in] += f" {data}"


def test_all_of_a_run_is_on_its_page(page: Path) -> None:
    read = Read(page)
    assert list(read.text) == SECTIONS
    for section, words in {
        "trained": ("resnext50_32x4d", "torchvision/resnext50_32x4d.v2", "cd" * 32, "stage 1"),
        "data": ("instances_val2017.json", "To train on", "To evaluate with"),
        "measured": (HOSTILE, "41.0", "62.0", "box AP50", "square", "cross"),
        "images": ("Best", "Worst", "truth", "found", ".jpg", "missed"),
        "memory": ("8.0 GiB", "7.4 GiB", "0.93", "planned"),
        "time": ("Resumed", f"{STEPS // 2}", "stopped, or running", "commit"),
    }.items():  # fmt: skip
        for word in words:
            assert word in read.text[section], (section, word)
    assert len(read.addresses) > 12
    assert all(a.startswith(("data:", "#")) for a in read.addresses), "it asks for nothing"
    assert read.tags.count("script") == 3, "plotly's, the figures and the page's own"
    assert HOSTILE not in page.read_text(encoding="utf-8")
    assert page.stat().st_size < 12_000_000


@pytest.mark.parametrize(
    ("kept", "sections"),
    [
        (
            "*/vis_data/*",
            ["trained", "curves", "measured", "memory", "time"],
        ),  # an engine's of before
        ("checkpoints.json", ["trained", "measured"]),
        ("record.json", ["trained", "data", "memory", "time"]),  # killed before a line was logged
        ("evaluation.json", ["trained", "measured"]),  # its detections are gone
    ],
)
def test_what_is_not_there_is_left_out(
    work_dir: Path, tmp_path: Path, kept: str, sections: list[str]
) -> None:
    for path in work_dir.glob(kept):
        to = tmp_path / path.relative_to(work_dir)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    said: list[str] = []
    read = Read(write_report(tmp_path, tmp_path / FILE_NAME, say=said.append))
    assert list(read.text) == sections
    assert bool(said) == (kept == "evaluation.json")


def test_a_classifiers_page(tmp_path: Path) -> None:
    logs = tmp_path / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    rows = [{"loss": 2.3, "lr": 0.1, "time": 0.2, "step": 1}, {"accuracy/top1": 0.76, "step": 1}]
    (logs / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = Read(write_report(tmp_path, tmp_path / FILE_NAME, say=pytest.fail))
    assert list(read.text) == ["trained", "curves", "measured", "time"]
    assert "76.0" in read.text["measured"]


def test_detectron2s_scalars_are_read(tmp_path: Path) -> None:
    rows = [
        {"iteration": 19, "total_loss": 1.5, "lr": 0.1, "time": 0.2},
        {"iteration": 39, "total_loss": 1.0, "lr": 0.1, "time": 0.2, "bbox/AP": 37.5},
    ]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = Read(write_report(tmp_path, tmp_path / FILE_NAME, say=pytest.fail)).text
    assert list(text) == ["trained", "curves", "measured", "time"]
    assert "37.5" in text["measured"]
    assert re.search(r"steps\s+40", text["trained"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no such folder"),
        (Path.mkdir, "has no run in it"),
        (Path.touch, "there is no such folder"),
    ],
)
def test_a_wrong_folder_is_one_message(tmp_path: Path, capsys, make: Any, message: str) -> None:
    make(tmp_path / "wrong")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "wrong")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: work directory {tmp_path / 'wrong'}: ")
    assert message in error
    assert error.count("\n") == 1


def test_the_page_of_a_run_ends_nothing(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its extra is missing, a file is damaged, or the page cannot be written."""
    monkeypatch.delenv(record.SWITCH)
    own = shutil.copytree(work_dir, tmp_path / "run")
    (own / FILE_NAME).unlink(missing_ok=True)

    def said() -> tuple[list[str], list[str]]:
        told: tuple[list[str], list[str]] = ([], [])
        record.write_page(own, *(each.append for each in told))
        return told

    (own / "detections.json").write_text('[{"image_id": ')
    info, warnings = said()
    assert not warnings
    assert "detections.json" in info[0]
    assert info[-1] == f"report: {own / FILE_NAME}"
    (own / "record.json").write_text('[{"facts": 3, "data": {"train": [{"summary": 4}]}}]')
    info, warnings = said()  # what is damaged is left out, and named
    assert not warnings
    for part in ("what was trained", "data"):
        assert any(f"{part}: not written: " in line for line in info), part
    assert info[-1] == f"report: {own / FILE_NAME}"
    (own / "record.json").unlink()
    (own / FILE_NAME).unlink()
    (own / FILE_NAME).mkdir()
    (warning,) = said()[1]
    assert re.match(rf"{FILE_NAME}: not written: \w+: ", warning)
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr(record, "find_spec", lambda name: None if name == "plotly" else name)
    (line,), nothing = said()
    assert not nothing
    assert 'plotly: pip install "resnext_backbones[report]", then resnext report' in line


def test_precision_is_cocos(work_dir: Path) -> None:
    evaluation = record.read_json(work_dir / record.EVALUATION)
    results = {kind: work_dir / name for kind, name in evaluation["results"].items()}
    evaluated = Evaluated(Path(evaluation["annotations"]), results)
    found = evaluated.results["bbox"]
    expected = coco_scores(evaluated.truth, found, evaluated.image_ids, ("bbox", "segm"))
    for kind in ("bbox", "segm"):
        own = evaluated.precision(kind)
        assert own is not None
        assert np.mean(own.ap) == pytest.approx(expected[f"{kind}_mAP"])
        assert np.mean(own.ap50) == pytest.approx(expected[f"{kind}_mAP_50"])


def test_which_class_is_found_as_which(work_dir: Path) -> None:
    """Against supervision's matrix, where each object has one detection near it."""
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    evaluation = record.read_json(work_dir / record.EVALUATION)
    evaluated = Evaluated(Path(evaluation["annotations"]), {"bbox": work_dir / "detections.json"})
    own, scores = evaluated.compare(0.5)

    def of(objects: list[dict[str, Any]]) -> Any:
        boxes = np.array([o["bbox"] for o in objects], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        ids = np.array([evaluated.category_ids.index(o["category_id"]) for o in objects], int)
        return supervision.Detections(
            xyxy=boxes, class_id=ids, confidence=np.array([o.get("score", 1) for o in objects])
        )

    images, found = evaluated.image_ids, evaluated.results["bbox"]
    theirs = supervision.ConfusionMatrix.from_detections(
        predictions=[of([f for f in found if f["image_id"] == i]) for i in images],
        targets=[of(evaluated.truth.imgToAnns[i]) for i in images],
        classes=evaluated.names,
        conf_threshold=0.5,
        iou_threshold=0.5,
    )
    assert own.tolist() == theirs.matrix.astype(int).tolist()
    assert own.sum() == sum(s.right + s.wrong + s.missed for s in scores)
    assert own[:-1].sum() == evaluated.objects().sum()


A, B = [0, 0, 10, 10], [40, 40, 10, 10]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([(1, A)], [(1, A, 0.9)], [(1, 1)]),
        ([(1, A)], [(1, B, 0.9)], [(None, 1), (1, None)]),
        ([(1, A)], [(2, A, 0.9)], [(1, 2)]),
        # Its own class takes an object from a surer one of another class.
        ([(1, A)], [(2, A, 0.9), (1, A, 0.3)], [(None, 2), (1, 1)]),
        # One object is found once.
        ([(1, A)], [(1, A, 0.9), (1, A, 0.8)], [(1, 1), (None, 1)]),
        # The one that it overlaps most.
        ([(1, A), (1, [2, 0, 10, 10])], [(1, [2, 0, 10, 10], 0.9)], [(1, 1), (1, None)]),
        # On a crowd it is neither right nor wrong, and a crowd is not missed.
        ([(1, [0, 0, 100, 100], 1)], [(1, A, 0.9)], []),
        ([], [], []),
    ],
)
def test_matches(truth: list, found: list, expected: list) -> None:
    objects = [
        {"category_id": each[0], "bbox": each[1], "iscrowd": int(len(each) > 2)} for each in truth
    ]
    detections = [{"category_id": c, "bbox": box, "score": score} for c, box, score in found]
    assert list(matches(objects, detections)) == expected


@pytest.fixture
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


def sized(browser: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


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
