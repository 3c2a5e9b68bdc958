"""The compressor ``pixel_shuffle``: neighbours of a grid side by side in one wider feature."""
