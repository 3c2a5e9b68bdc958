"""SigLIP 2: images to feature vectors."""
