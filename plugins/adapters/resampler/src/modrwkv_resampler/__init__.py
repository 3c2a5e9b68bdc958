"""The adapter ``resampler``: a fixed number of learned queries that attend to the features."""
