"""A headless browser of this machine, and the console's pages in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def headless() -> Iterator[Browser]:
    """Start a browser; where none is installed skip the test, and fail it in CI."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        reason = "no browser is installed; apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        # Without a sandbox, since tests may run as root; no page but the console's is opened.
        arguments = ["--no-sandbox", "--disable-gpu", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@contextmanager
def page_of(
    browser: Browser, url: str, *, javascript: bool = True, dark: bool = False, width: int = 1280
) -> Iterator[Page]:
    """Open a page in a context of its own. What its policy forbids, or a script's error, fails the test."""
    with browser.new_context(
        base_url=url,
        java_script_enabled=javascript,
        color_scheme="dark" if dark else "light",
        viewport={"width": width, "height": 900},
    ) as context:
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
        page.on("console", lambda message: problems.extend(_violations(message.text)))
        page.on("request", lambda request: problems.extend(_elsewhere(request.url, url)))
        yield page
        assert [] == problems


def barriers(page: Page) -> list[str]:
    """Return what axe-core finds to be wrong for people who use a keyboard or a screen reader, or see little.

    The rules are those of WCAG 2.2, levels A and AA, and axe-core's best practices.
    """
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


def _violations(text: str) -> list[str]:
    return [text] if "Security Policy" in text else []


def _elsewhere(asked: str, url: str) -> list[str]:
    return [] if asked.startswith(url) else [asked]
