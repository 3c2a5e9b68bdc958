"""Several encoders on one signal."""
