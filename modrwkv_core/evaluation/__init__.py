"""What a trained model is evaluated on, and the report of it.

Tasks score a model on held-out records next to baselines (baselines), computed from the data and never typed in:
a score means something only where it is clearly better than theirs.
"""
