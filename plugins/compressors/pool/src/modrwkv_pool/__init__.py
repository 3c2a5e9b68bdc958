"""The compressor ``pool``: the means of windows of features."""
