"""Sweeps: runs of one manifest with different settings, compared seed by seed."""
