"""The encoder ``features`` of ready-made feature frames, and augmentations of such frames."""
