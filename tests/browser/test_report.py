"""The report as people meet it: by mouse, keyboard and screen reader, on a phone, in the dark, on paper."""

from itertools import pairwise

import numpy as np
import pytest

from tests.browser.conftest import HOSTILE_CLASS, HOSTILE_FILES
from tests.browser.measures import CONTRASTS, N_SHADES, TOO_WIDE, UNNAMED, WIDTHS

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}


def rows_of(page, table):
    return page.eval_on_selector_all(
        f"#{table} tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


def background(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return [float(part) for part in colour[colour.index("(") + 1 : -1].replace(",", " ").split()[:3]]


@pytest.fixture
def page(opened, report):
    with opened(report.path) as page:
        yield page


class TestReading:
    def test_it_is_one_file_that_asks_for_nothing(self, opened, report):
        with opened(report.path) as page:
            page.wait_for_timeout(200)
            assert page.title() == page.locator("h1").inner_text()
        files = [url for url in opened.seen.requests if not url.startswith(("data:", "blob:"))]
        assert files == [report.path.as_uri()]
        assert report.path.stat().st_size < 1_000_000

    def test_the_leaderboard_is_the_searchs(self, page, report):
        rows = rows_of(page, "candidates")
        expected = report.result.search.leaderboard()
        assert len(rows) == len(expected)
        for row, candidate in zip(rows, expected, strict=True):
            assert row[1] == candidate["head"]
            assert float(row[2].split()[0]) == pytest.approx(candidate["mean_test_score"], abs=5e-5)

    def test_the_confusion_matrix_is_the_evaluations(self, page, report):
        cells = page.eval_on_selector_all(
            "#confusion-matrix tbody td", "cells => cells.map(cell => parseInt(cell.firstChild.textContent))"
        )
        matrix = np.array(report.result.test.confusion_matrix)
        n_wrong = int(matrix.sum() - np.trace(matrix))
        assert set(matrix.ravel().tolist()) <= set(cells)
        assert n_wrong > 0, "the report is to have mistakes"
        assert page.locator("#gallery-mistakes figure").count() == n_wrong

    def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(self, page):
        header = page.locator("#candidates thead th", has_text="fit, seconds")
        index = header.evaluate("cell => cell.cellIndex")
        order = []
        for act in (header.locator("button").click, lambda: page.keyboard.press("Enter")):
            act()
            values = page.eval_on_selector_all(
                "#candidates tbody tr", f"rows => rows.map(row => Number(row.cells[{index}].dataset.value))"
            )
            order.append(values)
            assert header.get_attribute("aria-sort") in ("ascending", "descending")
        assert sorted(order[0]) in (order[0], order[0][::-1])
        assert order[1] == order[0][::-1]

    def test_pictures_are_seen(self, page):
        widths = page.eval_on_selector_all("#galleries img", WIDTHS)
        assert len(widths) == page.locator("#galleries figure").count()
        assert set(widths) == {24}

    def test_the_provenance_quotes_the_command_and_the_features(self, page, report):
        text = page.locator("#provenance").inner_text()
        assert "featx search 'images <b>' --report R.html" in text
        assert report.features.features_sha256() in text
        assert '"input_size"' in text


class TestMap:
    def hovered(self, page):
        """Moves the mouse over the map until it meets a point; the card that is shown there."""
        page.locator("#map").scroll_into_view_if_needed()
        box = page.locator("#map-canvas").bounding_box()
        card = page.locator("#map-card")
        for share in np.random.default_rng(0).random((400, 2)):
            page.mouse.move(box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"])
            page.wait_for_timeout(5)
            if card.is_visible():
                return card
        return pytest.fail("no point was met on the map")

    def test_a_point_shows_its_picture_and_its_name(self, page, report):
        card = self.hovered(page)
        text = card.inner_text()
        assert any(sample_id in text for sample_id in report.samples.sample_ids)
        assert card.locator("canvas, img").evaluate(N_SHADES) > 10, "its picture is blank"

    def test_the_keyboard_walks_from_point_to_point(self, page, report):
        page.locator("#map-canvas").focus()
        names = []
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
            page.keyboard.press(key)
            page.wait_for_timeout(30)
            assert page.locator("#map-card").is_visible()
            names.append(
                next(
                    name
                    for name in report.samples.sample_ids
                    if name in page.locator("#map-card").inner_text()
                )
            )
        assert len(set(names)) > 1

    def test_a_label_is_filtered(self, page, report):
        boxes = page.locator("#map-legend input[type=checkbox]")
        assert boxes.count() == 2
        labels = report.samples.labels
        before = page.locator("#map-canvas").screenshot()
        boxes.nth(0).uncheck()
        page.wait_for_timeout(50)
        assert self.n_shown(page) in {labels.count(name) for name in set(labels)}
        assert page.locator("#map-canvas").screenshot() != before
        page.locator("#map-none").click()
        assert self.n_shown(page) == 0
        page.locator("#map-all").click()
        assert self.n_shown(page) == len(labels)

    def n_shown(self, page):
        digits = page.locator("#map-status").inner_text().replace(",", "").split()
        return next(int(word) for word in digits if word.isdigit())

    def test_colours_may_show_what_is_wrong(self, page):
        picture = page.locator("#map-canvas").screenshot()
        page.locator("input[name=colour][value=error]").check()
        page.wait_for_timeout(100)
        assert page.locator("#map-canvas").screenshot() != picture
        assert "right" in page.locator("#map-legend").inner_text()

    def test_the_table_of_samples_finds_a_name(self, page, report):
        page.locator("#samples-filter").fill("011.png")
        page.wait_for_timeout(300)
        rows = rows_of(page, "samples-table")
        assert len(rows) == 1
        assert any("011.png" in cell for cell in rows[0])
        page.locator("#samples-filter").fill("")
        page.wait_for_timeout(300)
        assert 1 < len(rows_of(page, "samples-table")) <= len(report.samples.sample_ids)


class TestEverywhere:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_stands_out_from_what_is_behind_it(self, scheme, opened, report):
        with opened(report.path, color_scheme=scheme) as page:
            found = page.evaluate(CONTRASTS)
            colours = background(page)
        assert len(found) > 100
        weak = [f"{each['text']}: {each['ratio']:.2f}" for each in found if each["ratio"] < each["least"]]
        assert not weak
        assert (max(colours) < 60) if scheme == "dark" else (min(colours) > 200)

    @pytest.mark.parametrize("width", [320, 390])
    def test_on_a_phone_nothing_scrolls_sideways(self, width, opened, report):
        options = {**PHONE, "viewport": {"width": width, "height": 844}}
        with opened(report.path, **options) as page:
            assert page.evaluate(TOO_WIDE) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            smallest = page.evaluate(
                "Math.min(...[...document.querySelectorAll('main p, main li, main td')]"
                ".map(element => parseFloat(getComputedStyle(element).fontSize)))"
            )
            assert smallest >= 11

    def test_printed_it_has_no_controls_and_all_text(self, page):
        sections = page.locator("main > section").count()
        page.emulate_media(media="print")
        controls = page.eval_on_selector_all(
            # Names of columns are buttons, which on paper are but names.
            ":is(button, input, select):not(th button)",
            "all => all.filter(one => one.checkVisibility()).map(one => one.id || one.name)",
        )
        assert controls == []
        assert page.locator("main > section:visible").count() == sections
        # As wide as A4 at 96 dots an inch.
        page.set_viewport_size({"width": 794, "height": 1123})
        assert page.evaluate(TOO_WIDE) == []
        assert (
            page.locator("#candidates tbody tr:visible").count()
            == page.locator("#candidates tbody tr").count()
        )

    def test_without_scripts_all_but_the_map_is_there(self, opened, report):
        with opened(report.path, java_script_enabled=False) as page:
            assert page.locator("#candidates tbody tr").first.is_visible()
            assert page.locator("#confusion-matrix").is_visible()
            assert page.locator("#gallery-mistakes img").first.is_visible()
            assert page.locator("noscript").is_visible()
            assert page.locator("button:visible, input:visible").count() == 0


class TestHostileNames:
    def test_they_stay_text(self, opened, report):
        with opened(report.path) as page:
            self.look_around(page)
            assert page.locator("img[src='x'], svg[onload], h1 b").count() == 0
            assert page.evaluate("document.scripts.length") == 2
            body = page.locator("body").inner_text()
            assert HOSTILE_CLASS in body
            for name in HOSTILE_FILES:
                page.locator("#samples-filter").fill(name)
                page.wait_for_timeout(200)
                assert any(name in cell for row in rows_of(page, "samples-table") for cell in row)
        assert opened.seen.dialogs == []

    def look_around(self, page):
        """Meets every name: on the map, in its card and its status line."""
        page.locator("#map-canvas").focus()
        for _ in range(60):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)


class TestScreenReader:
    def test_there_are_landmarks_and_the_headings_stand_in_order(self, page):
        for role in ("main", "navigation", "banner"):
            assert page.get_by_role(role).count() == 1
        levels = page.eval_on_selector_all(
            "h1, h2, h3, h4, h5, h6",
            "all => all.filter(one => one.checkVisibility()).map(one => Number(one.tagName[1]))",
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert page.evaluate("document.documentElement.lang") == "en"

    def test_everything_that_is_seen_or_used_has_a_name(self, page):
        assert page.locator("img:not([alt])").count() == 0
        assert page.locator("#galleries img[alt='']").count() == 0
        unnamed = page.evaluate(UNNAMED)
        assert unnamed == []

    def test_the_accessibility_tree_reads_as_the_page_does(self, page):
        tree = page.locator("body").aria_snapshot()
        for part in (
            "- banner",
            "- main",
            "- navigation",
            '- heading "Summary" [level=2]',
            "- table",
            "- img",
        ):
            assert part in tree

    def test_the_keyboard_reaches_the_map_and_leaves_it(self, page):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('href')") == "#report"
        reached = []
        for _ in range(80):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert "map-canvas" in reached
        assert reached.index("map-canvas") < len(reached) - 1
        assert "samples-filter" in reached

    def test_where_the_focus_is_is_seen(self, page):
        page.locator("#map-canvas").focus()
        page.keyboard.press("ArrowRight")
        style = page.locator("#map-canvas").evaluate(
            "one => { const style = getComputedStyle(one); return style.outlineStyle + style.boxShadow; }"
        )
        assert style != "nonenone"
