"""Contract tests for plugin authors.

Inherit the class of the component's kind in a test module, name the entry module and the component, list a few small
configurations; pytest runs the whole contract::

    from modrwkv_core.testing import CompressorContract


    class TestMyCompressor(CompressorContract):
        plugin = "my_package.plugin"
        name = "my_compressor"
        configs = ({}, {"stride": 3})

Query heads, tasks, metrics and sources also say what examples to try. Encoders and augmentations are tried on the
example signals of their modality, unless they say on what else. ``modrwkv plugins check`` prints the outcome with a
remedy for each point that does not hold.
"""

from modrwkv_core.testing.augmentation import AugmentationContract
from modrwkv_core.testing.backbone import BackboneContract
from modrwkv_core.testing.command import CommandContract
from modrwkv_core.testing.encoder import EncoderContract
from modrwkv_core.testing.features import AdapterContract, CompressorContract
from modrwkv_core.testing.finetuning import FinetuningContract
from modrwkv_core.testing.head import HeadContract
from modrwkv_core.testing.logger import LoggerContract
from modrwkv_core.testing.metric import MetricContract
from modrwkv_core.testing.modality import ModalityContract
from modrwkv_core.testing.optimizer import OptimizerContract
from modrwkv_core.testing.preset import PresetContract
from modrwkv_core.testing.scheduler import SchedulerContract
from modrwkv_core.testing.source import SourceContract
from modrwkv_core.testing.task import TaskContract
from modrwkv_core.testing.tokenizer import TokenizerContract

__all__ = [
    "AdapterContract",
    "AugmentationContract",
    "BackboneContract",
    "CommandContract",
    "CompressorContract",
    "EncoderContract",
    "FinetuningContract",
    "HeadContract",
    "LoggerContract",
    "MetricContract",
    "ModalityContract",
    "OptimizerContract",
    "PresetContract",
    "SchedulerContract",
    "SourceContract",
    "TaskContract",
    "TokenizerContract",
]
