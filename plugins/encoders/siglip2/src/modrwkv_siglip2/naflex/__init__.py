"""SigLIP 2 NaFlex: pictures in their own aspect ratio to feature vectors."""
