"""Building blocks that know nothing of files: windows, validation, resampling, progress, memory."""
