"""The adapter ``linear``: one linear layer."""
