"""A headless Chromium: Debian's, driven by selenium. Installed where that can be done, else tests are skipped."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PATIENCE", "browser"]

PATIENCE = 60.0
"""Seconds for what a page does at once on an idle machine."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--window-size=1280,1000",
)


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A browser with an empty profile, which logs what pages write to its console."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = _programs()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()


def _programs() -> tuple[str, str]:
    """Chromium and its driver. Skips the test where they cannot be had."""
    if not _found() and os.geteuid() == 0 and shutil.which("apt-get"):
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "-qq"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        packages = ["chromium", "chromium-driver"]
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run([*apt, *words], env=environment, capture_output=True, check=False, timeout=600)
    found = _found()
    if found is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    return found


def _found() -> tuple[str, str] | None:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None
