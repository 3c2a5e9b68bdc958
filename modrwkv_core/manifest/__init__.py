"""The manifest: one file that names a model's components, its data and its training."""

from modrwkv_core.manifest.load import LoadedManifest, digest, dump_manifest, load_manifest, manifest_from_dict
from modrwkv_core.manifest.schema import Manifest, Phase, Pipeline

__all__ = [
    "LoadedManifest",
    "Manifest",
    "Phase",
    "Pipeline",
    "digest",
    "dump_manifest",
    "load_manifest",
    "manifest_from_dict",
]
