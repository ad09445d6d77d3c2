"""Memory for pixels: the budget, the arena of decoded tiles, and arrays shared with worker processes."""
