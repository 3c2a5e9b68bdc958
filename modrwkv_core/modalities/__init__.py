"""The modalities that the core brings: image, audio and series, each in the module of its name."""
