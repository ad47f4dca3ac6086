"""Pictures of a report, for a person to look at (scripts/screenshots)."""

import os
from pathlib import Path

import pytest

VIEWS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "printed": {"viewport": {"width": 794, "height": 1123}},
}
FOLDER = Path(__file__).parents[2] / "cache" / "reports"


@pytest.mark.skipif("FEATX_SCREENSHOTS" not in os.environ, reason="run scripts/screenshots")
@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_of_the_report(view, opened):
    path = Path(os.environ["FEATX_SCREENSHOTS"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    with opened(path, timeout_ms=60_000, **VIEWS[view]) as page:
        if view == "printed":
            page.emulate_media(media="print")
            page.pdf(path=FOLDER / f"{path.stem}-{view}.pdf", format="A4", print_background=True)
        page.wait_for_timeout(500)
        page.screenshot(path=FOLDER / f"{path.stem}-{view}.png", full_page=True)
    assert (FOLDER / f"{path.stem}-{view}.png").stat().st_size > 10_000
