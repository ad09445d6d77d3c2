"""Options as flags, files and environment variables, for any frozen model of them."""

from patchaug.settings.model import Settings

__all__ = ["Settings"]
