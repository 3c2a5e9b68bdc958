"""What components look like and the values that flow between them.

Import from the modules of this package. :mod:`~modrwkv_core.interfaces.config` and
:mod:`~modrwkv_core.interfaces.signals` do not import torch; the others do.
"""
