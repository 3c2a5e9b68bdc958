"""WavLM: recordings to feature vectors."""
