"""One image and its mask in one frame, the index of its labels, and the files they come from."""
