"""The compressor ``conv2d``: a strided convolution over a grid of features."""
