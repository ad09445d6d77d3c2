"""Writers of predictions: one file for each format, each a `BandWriter` that is fed bands from the top down."""
