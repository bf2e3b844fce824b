"""A real browser for tests of pages: Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

TIMEOUT = 300_000
"""Milliseconds; machines that train at the same time are slow."""

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips the test where Playwright or Chromium is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed (pip install playwright)"
    )
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if found is None:
            pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """An open page, with everything it complained about or asked others for."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, **context})
        self.context.set_default_timeout(TIMEOUT)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.network: list[str] = []  # requests for anything but the page itself and data inside it
        self._own = (address, "data:", "blob:", "ws:")
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)
        self.page.goto(address)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(self._own):
            self.network.append(request.url)

    def close(self) -> None:
        """Close the page and its context."""
        self.context.close()


def until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true.

    Playwright's own waiting evaluates text inside the page, which the page's policy forbids.
    """
    for _ in range(TIMEOUT // 20):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never came true: {condition}")


def screenshot_folder(fallback: Path) -> Path:
    """Where screenshots go: the folder that IJCN_SCREENSHOTS names, else ``fallback``."""
    folder = Path(os.environ.get("IJCN_SCREENSHOTS") or fallback)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
