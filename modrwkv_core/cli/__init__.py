"""The ``modrwkv`` program: one file per command, heavy imports inside functions."""
