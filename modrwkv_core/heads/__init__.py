"""Heads: hidden vectors of the backbone to answers."""
