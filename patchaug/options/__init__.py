"""Options as flags, files and environment variables, for any frozen model of them."""

from patchaug.options.settings import Settings

__all__ = ["Settings"]
