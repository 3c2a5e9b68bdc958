"""Vision backbones of timm: images to feature vectors."""
