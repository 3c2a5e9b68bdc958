"""What a trained model is examined on, and the report of it.

Tasks score a model on held-out records next to trivial methods ("floors"), computed from the data and never typed in:
a score means something only where it is clearly better than theirs.
"""
