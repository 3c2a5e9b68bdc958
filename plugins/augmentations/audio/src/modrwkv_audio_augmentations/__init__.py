"""Augmentations of sound."""
