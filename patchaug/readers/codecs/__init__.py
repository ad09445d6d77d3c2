"""Decompression into a known size, and the sizes that compressed data claim."""
