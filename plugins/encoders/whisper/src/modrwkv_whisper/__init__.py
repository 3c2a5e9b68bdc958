"""Whisper's encoder: recordings to feature vectors."""
