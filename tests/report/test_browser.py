"""Pages in headless Chromium: at two widths, in light and dark, with their script and without."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sapwood.report import (
    render_agreement,
    render_bench,
    render_compare,
    render_compile,
    render_detect,
    render_evaluation,
    render_export,
    render_inspect,
    render_mask,
    render_prune,
    render_run,
    render_train,
)
from sapwood.report.records import (
    AgreementRecord,
    BenchRecord,
    BenchRow,
    EvaluationRecord,
    ExportRecord,
    MadeBy,
    make_part,
)
from support.pruned import RECOVERY, inspect_record, prune_record
from support.runs import MADE, run_record
from support.sheets import AGREED, COMPILED, DETECTED, EVALUATED, EXPORTED, MASKED, TRAINED

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MOST_BYTES = 5_000_000
LOCAL = ("file:", "data:")
HEIGHT = 900
"""Of the screen, in which the five answers stand."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install 'sapwood[browser]'")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def deployed(ratio: float, base_ms: float = 18.0) -> dict[str, float]:
    low, high = 0.97 * ratio, 1.04 * ratio
    times = {"median_ms": base_ms * ratio, "q25_ms": base_ms * low, "q75_ms": base_ms * high, "min_ms": base_ms * low}
    return {**times, "ratio": ratio, "ratio_q25": low, "ratio_q75": high}


def full(record: dict[str, Any]) -> dict[str, Any]:
    """The record with everything that a page can show."""
    for number, case in enumerate(record["cases"]):
        case["runtimes"] = {"onnxruntime": deployed(1.0 - 0.03 * number), "sapwood": deployed(1.1 - 0.07 * number)}
        value = case["accuracy"]["metrics"]["mAP@0.5"]
        case["accuracy"]["resampled"] = [max(0.0, value + random.Random(at).gauss(0, 0.03)) for at in range(100)]
        for layer in case["layers"]:
            is_conv = layer["kind"] == "conv"
            layer["shape"] = [32 - number, 16, 3, 3] if is_conv else [32]
            layer["density"] = "0123456789/9876543210" if is_conv and layer["zeros"] else None
    return record


LONG = "torchvision:convolutional_network_whose_name_is_wider_than_a_telephone"


def bench_page() -> str:
    times = {"median_ms": 2.0, "q1_ms": 1.9, "q3_ms": 2.2, "ratio": 0.5, "speedup": 2.0, "same_runtime_ratio": 0.5}
    dense = {"median_ms": 4.0, "q1_ms": 3.9, "q3_ms": 4.2, "ratio": 1.0, "speedup": 1.0, "same_runtime_ratio": 1.0}
    rows = (BenchRow(LONG, "onnxruntime", **dense), BenchRow("small", "onnxruntime", **times))
    conditions = {"cpu": "A CPU", "threads": 1, "batch": None, "rounds": 30}
    record = BenchRecord(rows, (LONG, "onnxruntime"), {"onnxruntime": "1.32"}, conditions)
    return render_bench(record, make_part(MadeBy, MADE))


def with_long_names(record: dict[str, Any]) -> dict[str, Any]:
    """Names as a comparison of several ways of recovering has them."""
    for case in record["cases"][1:]:
        case["name"] = f"channels removed · L2 · MACs kept · batchnorm · {case['name']}"
    return record


def recovered() -> dict[str, Any]:
    """As much as a page of `prune` has to say at its top."""
    command = "sapwood prune yolov3-tiny.cfg --macs 0.8 --criterion obs --labels own --criterion-pictures 24 "
    command += "--recover reconstruct --recover-pictures 24 --data coco --weights yolov3-tiny.weights -o out/02-small"
    then = ("sapwood eval out/02-small --data coco", "sapwood bench yolov3-tiny.cfg out/02-small --runtime torch")
    record = {**prune_record(), "model": "yolov3-tiny.cfg", "latency": None, "recovery": RECOVERY}
    found = {name: {"value": one, "low": one, "high": one} for name, one in (("pruned", 0.751), ("recovered", 0.691))}
    record["agreement"] = {"against": "yolov3-tiny.cfg", "data": "coco", "figure": "mAP@0.5", "num_images": 64}
    record["agreement"] |= {"num_found": 99, "networks": found}
    return {**record, "made": {**MADE, "command": command, "then": then}}


BY = make_part(MadeBy, MADE)
PAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "compare": lambda record: render_compare(full(record)),
    "compare, long names": lambda record: render_compare(with_long_names(full(record))),
    "prune": lambda _: render_prune(prune_record()),
    "prune, recovered": lambda _: render_prune(recovered()),
    "inspect": lambda _: render_inspect(inspect_record()),
    "run": lambda _: render_run(run_record()),
    "bench": lambda _: bench_page(),
    "eval": lambda _: render_evaluation(
        make_part(EvaluationRecord, EVALUATED), BY, ("sapwood prune net.cfg -o small",)
    ),
    "against": lambda _: render_agreement(make_part(AgreementRecord, AGREED), BY),
    "mask": lambda _: render_mask({**MASKED, "made": MADE}),
    "compile": lambda _: render_compile({**COMPILED, "made": MADE}),
    "train": lambda _: render_train({**TRAINED, "made": MADE}),
    "detect": lambda record: render_detect(
        {**DETECTED, "made": MADE}, {"found/dog.jpg": record["pictures"][0]["jpeg"]}
    ),
    "export": lambda _: render_export(make_part(ExportRecord, EXPORTED), BY),
}


@pytest.fixture
def opened(browser: Any, tmp_path: Path, record: dict[str, Any]) -> Iterator[Callable[..., Any]]:
    """Opens the page of a verb; what the console says, and what is asked for elsewhere, is kept in ``page.said``."""
    contexts = []

    def open_page(verb: str, width: int = 1280, scheme: str = "light", *, script: bool = True) -> Any:
        path = tmp_path / f"{verb}.html"
        path.write_text(PAGES[verb](record), encoding="utf-8")
        assert path.stat().st_size < MOST_BYTES
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else page.said.append(request.url),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("verb", PAGES)
def test_pages_fit_and_say_nothing_to_the_console(opened: Any, verb: str, width: int, scheme: str) -> None:
    page = opened(verb, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.said == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("verb", PAGES)
def test_the_answers_stand_on_the_first_screen(opened: Any, verb: str, width: int) -> None:
    page = opened(verb, width)
    box = page.locator(".answers").bounding_box()
    assert box["y"] + box["height"] <= HEIGHT
    assert page.locator(".answers dt").count() == 5


def test_the_table_of_cases_is_seen_whole_on_a_desktop(opened: Any) -> None:
    table = opened("compare, long names").locator("#cases")
    assert table.evaluate("one => one.scrollWidth <= one.closest('.scroll').clientWidth")


def test_a_command_is_broken_between_words_and_copied_as_it_stands(opened: Any) -> None:
    code = opened("eval", 390).locator(".command code").first
    assert code.evaluate("one => one.textContent") == MADE["command"]
    heights = code.locator(".word").evaluate_all("all => all.map(one => one.getClientRects().length)")
    assert set(heights) == {1}


def test_dark_pages_are_dark(opened: Any) -> None:
    colors = [
        opened("compare", scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert colors == ["rgb(251, 249, 244)", "rgb(25, 24, 21)"]


def test_a_table_is_sorted_and_filtered(opened: Any) -> None:
    page = opened("compare")
    title = page.locator("#cases thead th", has_text="mAP@0.5")
    first = page.locator("#cases tbody tr:not(.family) th").first
    title.click()
    assert page.locator("#cases tbody tr:visible th").first.inner_text() == "global L1 · BatchNorm · 0.5"
    title.click()
    assert first.inner_text() == "global L1 · conv + BatchNorm · 0.2"
    assert title.get_attribute("aria-sort") == "descending"
    page.locator("[type=search]").fill("structured")
    assert page.locator("#cases tbody tr:visible").count() == 4
    page.locator("[type=search]").fill("")
    page.locator("[data-filters] [type=checkbox]").check()
    assert all(
        "data-use" in row.evaluate("one => one.outerHTML") for row in page.locator("#cases tbody tr:visible").all()
    )
    assert page.said == []


def test_a_mark_says_its_figures_and_leads_to_its_row(opened: Any) -> None:
    page = opened("compare")
    mark = page.locator("svg a").last
    mark.hover(force=True)
    tip = page.locator(".tip")
    assert "mAP@0.5" in tip.inner_text()
    mark.dispatch_event("click")
    assert page.evaluate("location.hash").startswith("#case-")
    assert page.evaluate("document.querySelector(':target').matches('#cases tr')")


def test_the_slider_parts_the_picture(opened: Any) -> None:
    page = opened("compare")
    slider = page.locator(".slider").first
    slider.locator("[type=range]").fill("20")
    assert "20%" in slider.locator(".over").evaluate("one => one.style.clipPath")
    slider.locator("select").select_option(index=0)
    assert slider.locator(".over svg").get_attribute("aria-label").startswith("dog.jpg, global L1 · conv · 0.2:")


@pytest.mark.parametrize("verb", PAGES)
def test_everything_can_be_read_without_the_script(opened: Any, verb: str) -> None:
    page = opened(verb, 390, script=False)
    assert page.locator("h1").is_visible()
    assert page.locator(".answers").is_visible()
    assert page.locator("[data-filters]:visible, .slider:visible, .tip:visible").count() == 0
    assert page.locator("table:visible, details:visible").count() > 0
