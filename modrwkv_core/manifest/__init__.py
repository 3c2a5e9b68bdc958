"""The manifest: one file that names a model's components, its data and its training."""

from modrwkv_core.manifest.load import LoadedManifest, digest, dump_manifest, load_manifest, manifest_from_dict
from modrwkv_core.manifest.schema import Manifest, ModalityConfig, Phase

__all__ = [
    "LoadedManifest",
    "Manifest",
    "ModalityConfig",
    "Phase",
    "digest",
    "dump_manifest",
    "load_manifest",
    "manifest_from_dict",
]
