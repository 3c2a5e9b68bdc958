"""SigLIP 2 NaFlex: images in their own aspect ratio to feature vectors."""
