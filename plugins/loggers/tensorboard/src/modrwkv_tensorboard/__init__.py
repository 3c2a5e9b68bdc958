"""The logger ``tensorboard``: metrics of runs in TensorBoard."""
