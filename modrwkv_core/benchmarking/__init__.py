"""Repeatable measurements: interleaved with baselines, beside a bound, with the machine described."""
