"""The encoder ``tiles``: large pictures tile by tile through any image encoder."""
