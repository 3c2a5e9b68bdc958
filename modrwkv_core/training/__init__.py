"""Phases: what trains, how, and how a run goes on after it was killed."""
