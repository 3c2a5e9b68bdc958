"""Public data sets with their official splits, as sources of ModRWKV."""
