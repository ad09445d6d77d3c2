"""From a model to the class map of a whole slide, and its scores."""
