"""Measuring speed so that others can repeat it: interleaved with rivals, beside the floor, with the machine named."""
