"""Advice on patch size, level and batch, by measurement on the user's slides and machine; see `patchaug advise`."""
