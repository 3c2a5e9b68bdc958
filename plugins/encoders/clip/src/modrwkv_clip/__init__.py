"""CLIP: pictures to feature vectors."""
