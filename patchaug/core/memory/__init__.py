"""Memory for pixels: the budget, the cache of decoded tiles, and arrays shared with worker processes."""
