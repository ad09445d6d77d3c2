"""A browser for the tests, where the machine has one."""

from collections.abc import Iterator

import pytest

pytest.importorskip("websockets")

from tests.browser.chrome import Chrome, found


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """A headless Chromium."""
    if found() is None:
        pytest.skip("no Chromium is installed here: apt-get install chromium")
    browser = Chrome()
    yield browser
    browser.close()
