"""Tests of patchaug.predict.writers."""
