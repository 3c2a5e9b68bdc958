"""Tokenizers: text to ids, with markers that text can never forge."""
