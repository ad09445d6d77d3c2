"""Writers of predictions: one file for each format, each a `MapWriter` that is fed bands from the top down."""
