"""The encoder ``timer``: a transformer over patches of a series."""
