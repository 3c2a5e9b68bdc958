"""Data for a demonstration without downloads: one source for each modality."""
