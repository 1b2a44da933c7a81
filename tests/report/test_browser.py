"""The report in a real browser: nothing fetched, no error, sorting, light and dark, narrow screens, print."""

import re

import pytest

from pipeline.stages import report
from tests.builders import finished_plan


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    plan, _, store = finished_plan.make(folder, n=300)
    report.main(["--plan", str(plan), "--output", str(folder / "output")])
    return store.report().files[2]


@pytest.fixture
def page(browser, path):
    """The report, opened; what it asked for and complained of stand in .asked and .complaints."""
    opened = browser.new_page(viewport={"width": 1100, "height": 900})
    opened.asked, opened.complaints = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("console", lambda message: opened.complaints.append(message.text))
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.goto(path.as_uri())
    yield opened
    opened.close()


def names(page) -> list[str]:
    return page.locator("table.sortable tbody th").all_inner_texts()


def test_nothing_is_fetched_and_nothing_goes_wrong(page):
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.complaints == []
    broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0
    assert page.evaluate("[...document.images].every(i => i.alt)")


def test_a_column_sorts_both_ways_and_the_baseline_stays_on_top(page):
    first = names(page)
    button = page.get_by_role("button", name="Training")
    button.click()
    up = names(page)
    assert page.locator("th[aria-sort]").inner_text().startswith("Training")
    button.click()
    down = names(page)
    assert sorted(up) == sorted(first)
    assert up[0] == down[0] == "ridge"
    seconds = {"final": 76, "by-question": 76, "vgg16": 38, "efficientnetb0": 38, "mean": 1}
    assert [seconds[name] for name in up[1:]] == sorted(seconds.values())
    assert [seconds[name] for name in down[1:]] == sorted(seconds.values(), reverse=True)


def test_sorting_works_from_the_keyboard(page):
    button = page.get_by_role("button", name="Name")
    button.focus()
    page.keyboard.press("Enter")
    assert names(page)[1:] == sorted(names(page)[1:])


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_width_scrolls_the_page_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(page, scheme):
    page.emulate_media(color_scheme=scheme)
    of = "getComputedStyle(document.querySelector('{}')).{}"
    paper = luminance(page.evaluate(of.format("body", "backgroundColor")))
    assert (paper > 0.5) == (scheme == "light")
    for element in ("body", ".muted", "nav a", ".finding", "thead th"):
        ink = luminance(page.evaluate(of.format(element, "color")))
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast > 4.5, element  # WCAG AA
    fill = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert abs(luminance(fill) - paper) > 0.1  # figures follow, too


def test_it_prints_without_cutting_a_figure(page, tmp_path):
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('main figure')).breakInside") == "avoid"
    a4 = 1040  # pixels between the margins
    heights = page.evaluate("[...document.querySelectorAll('main figure')].map(f => f.getBoundingClientRect().height)")
    assert max(heights) < a4


TAG = "<img src=x onerror=document.title='owned'>"


def test_names_that_hold_tags_do_nothing(browser, tmp_path):
    """A folder, a plan's path, a weights file and the reason of an image set aside are text, whatever they hold."""
    folder = tmp_path / TAG
    folder.mkdir()
    plan, _, store = finished_plan.make(folder, n=60)
    for artifact, facts in (
        (store.crops("central", "train"), {"reasons": {str(store.load_labels().index[4]): TAG}}),
        (store.trained("vgg16", 0), {"weights": {"source": "file", "path": TAG, "sha256": TAG}}),
        (store.inputs(), {"folder": TAG}),
    ):
        artifact.write(artifact.record() | facts)
    report.main(["--plan", str(plan), "--output", str(folder / "output")])
    opened = browser.new_page()
    opened.goto(store.report().files[2].as_uri())
    opened.wait_for_load_state("networkidle")
    assert opened.title() != "owned"
    assert opened.locator("[onerror]").count() == 0
    assert TAG in opened.locator("body").inner_text()
    opened.close()
