"""The comparison page in a real browser, opened from disk, without a network."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from conftest import sweep_once
from PIL import Image
from playwright.sync_api import sync_playwright

from bgm.comparison.compare import compare_runs
from bgm.comparison.page import write_comparison
from bgm.comparison.runs import find_runs
from bgm.config.experiments import ComparisonSettings

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium or the like, or the one that Playwright has installed."""
    installed = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        if installed is None and not Path(playwright.chromium.executable_path).exists():
            if os.environ.get("CI"):
                pytest.fail("no Chromium: `make browser` installs one")
            pytest.skip("no Chromium: `make browser` installs one")
        yield playwright.chromium.launch(executable_path=installed, args=OPTIONS)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A scored sweep of three runs."""
    settings = ["refine.sample_pixels=160,1600,9999", "outputs.types=[com,pha]"]
    swept = sweep_once(tmp_path_factory.mktemp("page"), *settings)
    assert swept.outcome.code == 0, swept.outcome.err
    return swept.folder


@pytest.fixture
def opened(browser):
    """Open a page: `opened(path)`; it knows everything it asked for or complained of."""
    pages = []

    def open_page(path):
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        pages.append(page)
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture
def page(opened, swept):
    """The page of the sweep."""
    return opened(swept / "comparison.html")


def column(page, heading: str) -> list[str]:
    table = page.locator("table").first
    headings = table.locator("thead th").all_inner_texts()
    place = [text.strip(" ↑↓") for text in headings].index(heading) + 1
    return table.locator(f"tbody td:nth-child({place})").all_inner_texts()


def test_the_page_is_self_contained_and_quiet(page):
    page.locator("#gallery article img").first.wait_for()
    assert all(url.startswith(("file:", "data:")) for url in page.asked)
    assert page.complaints == []
    assert page.locator(".plots:not([hidden]) svg").count() == 1
    assert page.locator("#runs-chart .point").count() == 3
    assert page.locator("#images-chart .point").count() == 3


def test_sorting_the_table(page):
    assert column(page, "refine.sample_pixels") == ["160", "1600", "9999"]
    heading = page.get_by_role("button", name="refine.sample_pixels")
    heading.click()
    heading.click()
    assert column(page, "refine.sample_pixels") == ["9999", "1600", "160"]
    page.get_by_role("button", name="MSE x1000", exact=True).first.click()
    errors = [float(text) for text in column(page, "MSE x1000")]
    assert errors == sorted(errors)


def test_pictures_are_unpacked_when_they_come_near(page):
    page.set_viewport_size({"width": 1200, "height": 300})
    page.reload()
    last = page.locator("article").last.locator("img").first
    assert last.get_attribute("src") is None
    last.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('article:last-of-type img').naturalWidth > 0")


def test_images_are_ordered_by_suspicion(page):
    page.locator("#order").select_option("suspicion")
    suspicions = [float(a.get_attribute("data-suspicion")) for a in page.locator("article").all()]
    assert suspicions == sorted(suspicions, reverse=True)
    assert len(set(suspicions)) == 3
    assert f"suspicion {suspicions[0]:.2f}" in page.locator("article").first.text_content()
    page.locator("#order").select_option("name")
    names = [a.get_attribute("data-name") for a in page.locator("article").all()]
    assert names == sorted(names)


def test_moving_the_divider_between_two_runs(page):
    page.locator("article").first.locator("button[data-layer=cutout]").first.click()
    page.wait_for_function("document.querySelector('#side-right img').naturalWidth > 0")
    assert page.locator("#tag-left").inner_text() != page.locator("#tag-right").inner_text()
    box = page.locator("#stage").bounding_box()
    clip = "getComputedStyle(document.querySelector('#side-right')).clipPath"
    middle = page.evaluate(clip)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20, steps=4)
    page.mouse.up()
    assert page.locator("#divider").get_attribute("aria-valuenow") == "25"
    assert page.evaluate(clip) != middle
    page.locator("#divider").press("ArrowRight")
    assert page.locator("#divider").get_attribute("aria-valuenow") == "27"


def test_zooming_to_the_pixels_of_the_full_size_file(page):
    page.locator("article").first.locator("button[data-layer=alpha]").first.click()
    page.get_by_role("button", name="1:1").click()
    assert page.locator("#zoom").inner_text() == "100 %"
    page.wait_for_function("document.querySelector('#resolution').textContent[0] === 'f'")
    assert page.evaluate("document.querySelector('#side-left img').src").startswith("file:")
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    assert "pixels" in page.locator("#side-left img").get_attribute("class")


def test_flickering_between_two_runs(page):
    page.locator("article").first.locator("button[data-layer=alpha]").first.click()
    page.get_by_role("button", name="Flicker").click()
    right = "getComputedStyle(document.querySelector('#side-right')).clipPath"
    page.wait_for_function(f"{right} === 'none'")
    page.wait_for_function(f"{right} !== 'none'")


def test_the_other_scores_and_names(page):
    page.locator("#score").select_option("sad")
    assert page.locator(".plots:not([hidden])").get_attribute("data-score") == "sad"
    page.locator("#filter").fill("teapot")
    assert page.locator("article:not([hidden])").count() == 1


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_runs_are_found_by_words_and_left_out_by_their_settings(page):
    page.keyboard.press("/")
    page.keyboard.type("1600")
    assert page.locator("#shown").inner_text() == "1 of 3 runs shown"
    assert column(page, "refine.sample_pixels")[:1] == ["160"]  # hidden, not gone
    assert page.locator("table").first.locator("tbody tr:visible").count() == 1
    assert page.locator("#runs-chart .point").count() == 1
    page.locator("#search").fill("")
    page.locator("#settings input[value='160']").uncheck()
    assert page.locator("#shown").inner_text() == "2 of 3 runs shown"
    assert page.locator("article").first.locator("figure[data-run]:visible").count() == 2


def test_charts_take_any_two_figures(page):
    page.locator("#runs-x").select_option("sad")
    page.locator("#runs-y").select_option("total_median_ms")
    page.locator("#runs-log").check()
    label = page.locator("#runs-chart .point").first.get_attribute("aria-label")
    assert "SAD /1000" in label
    assert "end to end ms, median" in label
    colours = {p.get_attribute("style") for p in page.locator("#runs-chart .point").all()}
    assert len(colours) == 3
    page.locator("#images-chart .point").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#viewer").is_visible()


def test_an_image_and_two_runs_have_a_link(page):
    page.locator("article").first.locator("button[data-layer=alpha]").first.click()
    page.locator("#right").select_option("2")
    page.locator("#layer").select_option("heat")
    link, name = page.url, page.locator("#viewer-name").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_function("location.hash === ''")
    page.goto("about:blank")
    page.goto(link)
    assert page.locator("#viewer-name").inner_text() == name
    assert page.locator("#right").input_value() == "2"
    assert page.locator("#stage.heat").count() == 1


def test_heat_maps_show_where_two_alphas_differ(page):
    page.locator("article").first.locator("button[data-layer=alpha]").first.click()
    page.locator("#layer").select_option("heat")
    page.wait_for_function("document.querySelector('#resolution').textContent[0] === 'f'")
    differing = page.locator("#stage").screenshot()
    page.locator("#right").select_option(page.locator("#left").input_value())
    page.wait_for_timeout(200)
    same = page.locator("#stage").screenshot()
    assert brightest(same) == 0
    assert brightest(differing) > 60


def brightest(picture: bytes) -> int:
    return max(high for _, high in Image.open(io.BytesIO(picture)).convert("RGB").getextrema())


def test_the_worst_images_and_the_commands_of_each_run(page):
    page.locator("#worst-by").select_option("value")
    assert page.locator("#worst-list .worst").count() == 3
    assert page.locator("#worst-list .worst").first.locator("img").count() == 3
    commands = page.locator("#commands code").all_inner_texts()
    assert sum(command.startswith("bgm repeat=") for command in commands) == 3
    assert any("refine.sample_pixels=1600" in command for command in commands)
    page.locator("#commands button").first.click()
    page.wait_for_function(
        "['Copied', 'Selected'].includes(document.querySelector('#commands button').textContent)"
    )


def test_pictures_that_do_not_fit_are_beside_the_page(opened, swept, tmp_path, monkeypatch):
    folder = tmp_path / "shared/out"
    shutil.copytree(swept, folder)
    monkeypatch.setattr("bgm.comparison.gallery._LEAST_INSIDE", 5000)
    comparison = compare_runs(find_runs([str(folder)]))
    write_comparison(comparison, folder, ComparisonSettings())
    assert len(list((folder / "comparison_pictures").iterdir())) == 3
    text = (folder / "comparison.html").read_text()
    assert "data:image/webp" not in text
    assert "comparison_pictures/</code>" in text

    page = opened(folder / "comparison.html")
    page.locator("article").last.scroll_into_view_if_needed()
    image = page.locator("article").last.locator("figure[data-run='1'] img[data-layer=alpha]")
    image.wait_for()
    page.wait_for_function(
        "document.querySelector('article:last-of-type img[data-layer=alpha]').naturalWidth > 0"
    )
    page.locator("article").last.locator("button[data-layer=alpha]").first.click()
    name = page.locator("#viewer-name").inner_text()
    page.get_by_role("button", name="Next image").click()
    page.wait_for_function(f"document.querySelector('#viewer-name').textContent !== '{name}'")
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.locator("#stage").wait_for()
    page.keyboard.press("Escape")
    page.locator("#worst-by").select_option("value")
    page.locator("#worst").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.worst img').naturalWidth > 0")
    assert page.complaints == []

    shutil.rmtree(folder / "comparison_pictures")  # somebody has sent the page alone
    page.reload()
    page.locator("article").first.scroll_into_view_if_needed()
    page.get_by_text("is not beside this page").first.wait_for()
