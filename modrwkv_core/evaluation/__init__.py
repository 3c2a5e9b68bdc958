"""What a trained model is evaluated on, and the report of it.

Tasks ask a model about held-out records, metrics score its predictions next to those of baselines, which are computed
from the data and never typed in: a score means something only where it is clearly better than theirs.
"""
