"""The plugin: `from patchaug.fastai import *` beside `from fastai.vision.all import *` (fastai 1: `fastai.vision`)."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers see the names of fastai 2
    from patchaug.fastai2 import *  # noqa: F403
    from patchaug.fastai2 import __all__ as __all__
else:
    _CURE = "pip install 'patchaug[fastai]'"
    try:
        _installed = version("fastai")
    except PackageNotFoundError:
        raise ImportError(f"patchaug.fastai needs fastai, which is not installed: {_CURE}") from None
    _number = tuple(int(part) for part in _installed.split(".")[:2])

    if _number >= (2, 8):
        from patchaug.fastai2 import *  # noqa: F403
        from patchaug.fastai2 import __all__ as __all__
    elif _number == (1, 0):
        from patchaug.fastai1 import *  # noqa: F403
        from patchaug.fastai1 import __all__ as __all__
    else:
        raise ImportError(
            f"patchaug.fastai needs fastai 2.8 or newer, or 1.0.61, but {_installed} is installed: {_CURE}"
        )

    _OF_FASTAI2 = {"SlideBlock", "SlideMaskBlock", "RandomPatch", "PatchDL", "SlideDataLoaders", "small_encoder"}

    def __getattr__(name: str) -> object:
        if _number == (1, 0) and name in _OF_FASTAI2:
            raise AttributeError(f"{name} belongs to fastai 2, and {_installed} is installed: start with SlideItemList")
        raise AttributeError(f"module 'patchaug.fastai' has no attribute {name!r}")
