"""The machine's description for the scripts of this folder, which run without an installation of their own."""

from modrwkv_core.benchmarking.fingerprint import fingerprint

__all__ = ["fingerprint"]
