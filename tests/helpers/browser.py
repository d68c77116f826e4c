"""Snakemake's own report in headless Chromium, clicked through as a reader does."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROWS = "//nav//table//tr[td]"
TOGGLES = "//nav//fieldset//label"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--disable-dev-shm-usage --window-size=1600,1000""".split()


def programs() -> tuple[str, str]:
    """Chromium and its driver. Without them the test is skipped; in CI it fails."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "no Chromium with chromedriver here (Debian: chromium, chromium-driver)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return browser, driver


@contextmanager
def chromium() -> Iterator[Any]:
    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options, Service(driver))
    try:
        yield window
    finally:
        window.quit()


def click_through(window: Any, page: Path) -> set[str]:
    """Open a report and look at everything in it: the paths of what was found to be there."""
    window.get(page.as_uri())
    found: set[str] = set()
    for category in window.execute_script("return Object.keys(categories)"):
        window.get(page.as_uri())
        _click(window, _all(window, f"//nav//a[span[text()='{category}']]")[0])
        rows = len(_all(window, ROWS))
        toggles = _settled(window, TOGGLES)
        for toggle in range(max(toggles, 1)):
            if toggles:
                _click(window, window.find_elements(By.XPATH, TOGGLES)[toggle])
            found |= {_look_at(window, page, row) for row in range(rows)}
    return found


def _click(window: Any, element: Any) -> None:
    """Also while the menu slides over it."""
    window.execute_script("arguments[0].click()", element)


def _settled(window: Any, path: str) -> int:
    """The number of elements, once it has been the same for a while: the page is drawn in steps."""
    counts = [-1]
    while len(counts) < 5 or len(set(counts[-5:])) > 1:
        counts.append(len(window.find_elements(By.XPATH, path)))
        time.sleep(0.1)
    return counts[-1]


def _look_at(window: Any, page: Path, row: int) -> str:
    """Look at the result of a row of the list, and check that it is really shown."""
    view = _all(window, ROWS)[row].find_elements(By.TAG_NAME, "a")[0]
    address = view.get_dom_attribute("href")
    if view.get_dom_attribute("download"):  # not to be shown, but to be had
        path = window.execute_script(
            "return Object.keys(results).find(path => results[path].data_uri === arguments[0])",
            address,
        )
        embedded = address.startswith("data:")
        size = len(address) if embedded else (page.parent / unquote(address)).stat().st_size
        assert size > 50, path  # a CSV may have its head alone
        return str(path)
    _click(window, view)
    path = window.execute_script("return app.state.resultPath")
    uri = window.execute_script("return results[arguments[0]].data_uri", path)
    if str(path).endswith(".html"):
        frame = _wait(window, lambda: _with_source(window, "iframe", uri))
        window.switch_to.frame(frame)
        assert len(window.find_element(By.TAG_NAME, "body").text) > 100, path
        window.switch_to.default_content()
    else:
        image = _wait(window, lambda: _with_source(window, "img", uri))
        _wait(window, lambda: window.execute_script("return arguments[0].complete", image))
        assert image.size["width"] > 300 and image.get_property("naturalWidth") > 0, path
    assert len(window.execute_script("return results[arguments[0]].caption", path)) > 50, path
    return str(path)


def _all(window: Any, xpath: str) -> Any:
    """The elements at `xpath`, as soon as there are some."""
    return _wait(window, lambda: window.find_elements(By.XPATH, xpath))


def _with_source(window: Any, tag: str, uri: str) -> Any:
    for element in window.find_elements(By.TAG_NAME, tag):
        source = element.get_dom_attribute("src")
        if source == uri or unquote(urlparse(source).path) == uri:
            return element
    return None


def _wait(window: Any, found: Any) -> Any:
    return WebDriverWait(window, 20).until(lambda _: found())


def errors(window: Any) -> list[str]:
    """What the console has of errors."""
    return [line["message"] for line in window.get_log("browser") if line["level"] == "SEVERE"]
