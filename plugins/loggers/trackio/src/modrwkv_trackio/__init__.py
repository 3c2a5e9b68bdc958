"""The logger ``trackio``: metrics of runs in Trackio."""
