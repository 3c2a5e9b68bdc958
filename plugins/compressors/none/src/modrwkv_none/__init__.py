"""The compressor ``none``: features pass as they are."""
