"""The adapter ``mlp``: two linear layers and a normalized residual."""
