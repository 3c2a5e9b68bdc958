"""The modalities that the core brings: image, audio, series and features, each in the module of its name."""
