"""``modrwkv bench multimodal``: what multimodal prompts cost a recurrent backbone and a Transformer of equal size."""
