"""A report of a real search, opened in a real browser that has no network.

Chromium comes from Debian's packages (``scripts/browser``); without it, or without playwright, every test
here is skipped and says so.
"""

import os
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: A class and a file that would run as a page's own, were they not text; no name has a slash.
HOSTILE_CLASS = "<script>alert(1)<script>"
HOSTILE_FILES = (
    "<img src=x onerror=alert(1)>.png",
    "'\"><svg onload=alert(2)>.png",
    "<!--.png",
    "${7*7}&lt;.png",
)


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra dev is not installed")
    path = os.environ.get("FEATX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium; scripts/browser installs it, or FEATX_CHROMIUM=/path/to/chrome")
    with sync_api.sync_playwright() as playwright:
        # As root, which containers are, it starts without its sandbox only; what it opens is this file.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def write_images(root, n_images=48):
    """Two classes, one of a hostile name, which a head mistakes for each other here and there."""
    rng = np.random.default_rng(0)
    for index in range(n_images):
        name = HOSTILE_FILES[index] if index < len(HOSTILE_FILES) else f"{index:03d}.png"
        folder = root / (HOSTILE_CLASS if index % 2 == 0 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        light = rng.normal(20 * (index % 2), 20)
        pixels = rng.integers(60, 160, (20, 24, 3)) + light
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
    return root


@pytest.fixture(scope="session")
def report(browser, tmp_path_factory):  # noqa: ARG001 - without a browser it need not be made
    """A report of a search over such images: its path, the search's result, and what the report shows."""
    from featx import FeatureExtractor, HeadSearch, as_source, extract
    from featx.report_jobs import ReportOptions, write_search_report
    from featx.search_jobs import search_features

    work = tmp_path_factory.mktemp("report")
    source = as_source(write_images(work / "images"))
    features = extract(source, FeatureExtractor("tiny"), store=work / "store")
    search = HeadSearch(["logistic_regression", "knn"], cv=3, n_jobs=1, random_state=0)
    result = search_features(features, search, test_size=0.5)
    path = work / "a report <b>.html"
    options = ReportOptions(source, "featx search 'images <b>' --report R.html")
    samples = write_search_report(path, result, options)
    return SimpleNamespace(path=path, result=result, samples=samples, features=features)


@pytest.fixture
def opened(browser):
    """Opens a file in a browser of its own without network; at the end nothing may have gone wrong in it."""
    seen = SimpleNamespace(console=[], errors=[], requests=[], dialogs=[])

    @contextmanager
    def opened_file(path, timeout_ms=3000, **options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(offline=True, **options)
        # What is not there by then will not come.
        context.set_default_timeout(timeout_ms)
        page = context.new_page()
        page.on("console", lambda message: seen.console.append((message.type, message.text)))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri(), wait_until="load")
        yield page
        context.close()
        quiet(path)

    def quiet(path):
        outside = [
            url for url in seen.requests if not url.startswith(("data:", "blob:")) and url != path.as_uri()
        ]
        assert not outside, f"it asks for {outside}"
        assert not [text for kind, text in seen.console if kind in ("error", "warning")]
        assert not seen.errors
        assert not seen.dialogs

    opened_file.seen = seen
    return opened_file
