"""One door: `from patchaug.fastai import *` beside `from fastai.vision.all import *`."""

from importlib.metadata import PackageNotFoundError, version

_CURE = "pip install 'patchaug[fastai]'"

try:
    _installed = version("fastai")
except PackageNotFoundError:
    raise ImportError(f"patchaug.fastai needs fastai 2, which is not installed: {_CURE}") from None

if int(_installed.split(".")[0]) < 2:
    raise ImportError(f"patchaug.fastai needs fastai 2.8 or newer, but {_installed} is installed: {_CURE}")

from patchaug.fastai2 import *  # noqa: E402, F403 - the door hands on all of fastai2
from patchaug.fastai2 import __all__ as __all__  # noqa: E402 - only after the checks above
