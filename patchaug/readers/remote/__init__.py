"""Slides behind URLs: objects of stores and web servers, read by ranges."""
