"""The trunks that the core brings itself."""
