"""From records to packed batches: tokenizers, sources, conversations, packing, loading."""
