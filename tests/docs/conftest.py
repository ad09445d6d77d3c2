"""The order of the tests of the documents."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest test first, so that no process waits for it at the end."""
    items.sort(key=lambda item: "test_the_main_script_learns" not in item.nodeid)
