"""The compressor ``conv1d``: a strided convolution over a sequence of features."""
