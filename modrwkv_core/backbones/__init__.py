"""The backbones that the core brings itself."""
