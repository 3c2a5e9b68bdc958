"""The augmentations that the core brings: those of series, and those of features of any modality."""
