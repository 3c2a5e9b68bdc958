"""Speech towers of transformers with the architecture of wav2vec 2.0."""
