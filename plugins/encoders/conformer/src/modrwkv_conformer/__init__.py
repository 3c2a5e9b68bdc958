"""The encoders ``conformer`` and ``conformer_features``: Conformers from scratch over log-mel and ready-made frames."""
