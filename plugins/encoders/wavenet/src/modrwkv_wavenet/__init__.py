"""The encoder ``wavenet``: causal, dilated, gated convolutions over a series."""
