"""SigLIP 2: pictures to feature vectors."""
