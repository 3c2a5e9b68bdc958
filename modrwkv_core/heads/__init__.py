"""Heads: hidden vectors of the trunk to answers."""
