"""Transformers of the transformers library as backbones."""
