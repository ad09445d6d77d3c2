"""Building blocks below the readers: windows, validation, resampling, atomic files, progress, memory."""
