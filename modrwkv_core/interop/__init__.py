"""Exchange with the rest of the world: other layouts of weights, the authors' checkpoints, the Hugging Face Hub."""
