"""Files of these tests need not survive a crash of the machine."""

from collections.abc import Iterator

import pytest

from patchaug.core import atomic


@pytest.fixture(autouse=True, scope="package")
def _without_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "_synchronise", lambda path: None)
        patch.setattr(atomic, "_synchronise_one", lambda path: None)
        yield
