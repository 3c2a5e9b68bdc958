"""The compressor ``pool2d``: the means of windows of a grid."""
