"""The adapter ``mlp``: two linear layers and a normalised residual."""
