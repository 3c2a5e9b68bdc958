"""The logger ``wandb``: metrics of runs in Weights & Biases."""
