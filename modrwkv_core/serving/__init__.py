"""An OpenAI-compatible HTTP server for trained runs. Needs ``modrwkv[serve]``."""
