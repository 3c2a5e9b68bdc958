"""The adapter ``gated_mlp``: an RMS norm and SwiGLU."""
