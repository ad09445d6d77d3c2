"""Hypothesis profiles: quick for every run, brief for further Pythons, long for nights (HYPOTHESIS_PROFILE=long)."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", settings.get_profile("quick"), max_examples=8)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure() -> None:
    """Heed Ctrl-C, which a shell tells its background jobs to ignore; tests send it, to processes of their own too."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# They start first, so that no process waits for one of them at the end.
LONGEST = (
    "test_demo_learns_and_leaves_its_results_and_nothing_else",
    "test_the_main_script_learns",
    "test_ten_seconds_find_no_failure",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, and remove the time limit under the profile `long`, whose examples take hours."""
    items.sort(key=lambda item: not item.name.startswith(LONGEST))
    if os.environ.get("HYPOTHESIS_PROFILE") == "long":
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real files beside the project; skip tests that need it where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real slides are not part of the project, and {folder} does not exist")
    return folder
