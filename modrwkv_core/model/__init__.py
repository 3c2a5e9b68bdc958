"""From a manifest to one module: assembly, the splice of media into text, checkpoints."""
