"""CLIP: images to feature vectors."""
