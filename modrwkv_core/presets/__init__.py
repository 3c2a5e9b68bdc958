"""Named manifest pieces of the core, for ``extends:``."""
