"""``modrwkv bench``: how fast this machine is, beside baselines and the machine's limits.

An option has the name of the argument of the function that measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from modrwkv_core.cli import bench_multimodal
from modrwkv_core.cli.bench_options import (
    BASELINES,
    BATCH_SIZES,
    DEVICE,
    DTYPE,
    POSITIVE,
    SECONDS,
    THREADS,
    VOCAB_SIZE,
    WEIGHTS,
    bench,
    benchmark,
    by_device,
    on_device,
    shape_options,
    size_option,
)
from modrwkv_core.cli.threads import SPIN_COUNT
from modrwkv_core.errors import ModRWKVError

if TYPE_CHECKING:
    from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
    from modrwkv_core.benchmarking.report import Report

__all__ = ["bench", "bench_multimodal"]


@benchmark(
    "wkv7",
    shape_options((1, 8), (512, 2048)),
    by_device("--heads", 12, 32, "Heads of 64 channels", type=POSITIVE),
    DTYPE,
    click.option("--float32-decay", is_flag=True, help="Pass the decay in float32, as the backbone does."),
    click.option(
        "--states", type=POSITIVE, multiple=True, default=(1, 32), show_default=True, help="States of a decoding step."
    ),
    DEVICE,
    THREADS,
    SECONDS,
)
def _wkv7(**settings: Any) -> Report:
    """Measure the recurrence alone: forward, with its gradients, and one token of decoding."""
    from modrwkv_core.benchmarking.wkv7 import bench_wkv7

    return bench_wkv7(**settings)


@benchmark("wkv7-tuning", DEVICE)
def _wkv7_tuning(*, device: str) -> Report:
    """Measure the recurrence's Triton kernels under several launch parameters, on a GPU."""
    from modrwkv_core.benchmarking.wkv7_tuning import bench_wkv7_tuning

    if device == "cpu":
        raise ModRWKVError("launch parameters exist on GPUs only", hint="`modrwkv bench wkv7` measures the CPU")
    return bench_wkv7_tuning(device=device)


@benchmark(
    "layer",
    size_option("12x768", "24x2048"),
    shape_options((1, 8), (512, 2048)),
    DTYPE,
    BASELINES,
    DEVICE,
    THREADS,
    SECONDS,
)
def _layer(*, size: str, **settings: Any) -> Report:
    """Measure one block, forward and backward."""
    from modrwkv_core.benchmarking.sizes import ModelSize
    from modrwkv_core.benchmarking.training import bench_layer

    return bench_layer(ModelSize.parse(size, 8), **settings)


@benchmark(
    "train",
    size_option("4x256", "24x1024"),
    shape_options((4, 8), (256, 4096)),
    by_device("--vocab-size", 512, 65536, "Rows of the vocabulary", type=click.IntRange(min=2)),
    DTYPE,
    click.option(
        "--activation-checkpointing",
        type=click.Choice(["none", "selective", "full"]),
        default="none",
        show_default=True,
        help="What ours computes twice to save memory.",
    ),
    click.option("--profile", is_flag=True, help="List the operations of one step of ours that take longest."),
    BASELINES,
    DEVICE,
    THREADS,
    SECONDS,
)
def _train(*, size: str, vocab_size: int, **settings: Any) -> Report:
    """Measure training steps of a whole model: forward, loss, backward, AdamW."""
    from modrwkv_core.benchmarking.sizes import ModelSize
    from modrwkv_core.benchmarking.training import bench_train

    return bench_train(ModelSize.parse(size, vocab_size), **settings)


@benchmark(
    "engine",
    size_option("4x256", "24x1024"),
    click.option(
        "--streams",
        type=POSITIVE,
        multiple=True,
        default=(1, 8, 16),
        show_default=True,
        help="Answers generated together; may be repeated.",
    ),
    click.option("--tokens", type=POSITIVE, default=256, show_default=True, help="Tokens of each answer."),
    click.option(
        "--memory-tokens",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Generate so many tokens at last, and compare the memory with that after a hundredth of them.",
    ),
    WEIGHTS,
    click.option(
        "--processor-time",
        is_flag=True,
        help="Count processor time of all threads, which other programs hardly change.",
    ),
    DEVICE,
    THREADS,
    SECONDS,
)
def _engine(*, size: str, device: str, **settings: Any) -> Report:
    """Measure answers that are generated together, and questions about one picture with and without a prefix cache.

    The picture has 384 x 384 pixels and becomes 288 tokens.
    """
    from modrwkv_core.benchmarking.engine import bench_engine

    return bench_engine(_seeing(size, device), device=device, **settings)


def _seeing(size: str, device: str) -> MultimodalSize:
    """Return the size of a model that sees pictures of 384 x 384 pixels, each of which becomes 288 tokens."""
    from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
    from modrwkv_core.benchmarking.sizes import ModelSize

    vocab_size = on_device(device, 320, 65536)
    return MultimodalSize(
        backbone=ModelSize.parse(size, vocab_size),
        encoder=ModelSize.parse(on_device(device, "4x256", "12x768"), vocab_size),
        image_size=384,
        batch_size=1,
    )


@benchmark(
    "first-answer",
    size_option("4x256", "24x1024"),
    click.option(
        "--processes", type=POSITIVE, default=3, show_default=True, help="Started one after the other, all alike."
    ),
    DEVICE,
    THREADS,
)
def _first_answer(*, size: str, device: str, **settings: Any) -> Report:
    """Measure the first answers of fresh processes, each about a picture, beside the goal.

    The first process may compile kernels; the goal is for those that find them in the cache.
    """
    from modrwkv_core.benchmarking.first_answer import bench_first_answer

    return bench_first_answer(_seeing(size, device), device=device, **settings)


@benchmark(
    "server",
    size_option("4x256", "24x1024"),
    click.option("--streams", type=POSITIVE, default=16, show_default=True, help="Clients that ask at the same time."),
    click.option("--slots", type=POSITIVE, default=16, show_default=True, help="Answers that are written at a time."),
    click.option("--tokens", type=POSITIVE, default=64, show_default=True, help="Tokens of each answer."),
    click.option(
        "--clients", type=POSITIVE, default=200, show_default=True, help="Clients that leave before the end, at last."
    ),
    WEIGHTS,
    DEVICE,
    THREADS,
    SECONDS,
)
def _server(*, size: str, device: str, **settings: Any) -> Report:
    """Measure the server beside its engine, under load, and with clients that leave; it needs modrwkv[serve]."""
    from modrwkv_core.benchmarking.server import bench_server
    from modrwkv_core.benchmarking.sizes import ModelSize

    model_size = ModelSize.parse(size, on_device(device, 320, 65536))
    return bench_server(model_size, device=device, **settings)


@benchmark(
    "server-baselines",
    size_option("12x768", "24x1024"),
    click.option(
        "--clients",
        type=POSITIVE,
        multiple=True,
        default=(1, 8, 32),
        show_default=True,
        help="Clients that ask at the same time; may be repeated.",
    ),
    click.option("--tokens", type=POSITIVE, default=16, show_default=True, help="Tokens of each answer."),
    WEIGHTS,
    DEVICE,
    THREADS,
    SECONDS,
)
def _server_baselines(*, size: str, **settings: Any) -> Report:
    """Measure the server in turns with PyPI's rwkvserve, with the same weights; it needs modrwkv[serve]."""
    from modrwkv_core.benchmarking.server_baselines import bench_server_baselines
    from modrwkv_core.benchmarking.sizes import ModelSize

    return bench_server_baselines(ModelSize.parse(size, 65536), **settings)


@benchmark(
    "prefill",
    size_option("12x768", "24x2048"),
    VOCAB_SIZE,
    click.option("--tokens", type=POSITIVE, default=512, show_default=True, help="Length of the prompt."),
    DEVICE,
    THREADS,
    SECONDS,
)
def _prefill(*, size: str, vocab_size: int, **settings: Any) -> Report:
    """Measure the prefill of a prompt, up to the logits of its last token."""
    from modrwkv_core.benchmarking.prefill import bench_prefill
    from modrwkv_core.benchmarking.sizes import ModelSize

    return bench_prefill(ModelSize.parse(size, vocab_size), **settings)


@benchmark("decode", size_option("12x768", "24x2048"), VOCAB_SIZE, BATCH_SIZES, DEVICE, THREADS, SECONDS)
def _decode(*, size: str, vocab_size: int, **settings: Any) -> Report:
    """Measure decoding token by token."""
    from modrwkv_core.benchmarking.decode import bench_decode
    from modrwkv_core.benchmarking.sizes import ModelSize

    return bench_decode(ModelSize.parse(size, vocab_size), **settings)


@benchmark("accuracy", size_option("4x256", "24x2048"), VOCAB_SIZE, BATCH_SIZES, DEVICE, THREADS)
def _accuracy(*, size: str, vocab_size: int, **settings: Any) -> Report:
    """Measure the relative errors of the recurrence and of decoding."""
    from modrwkv_core.benchmarking.accuracy import bench_accuracy
    from modrwkv_core.benchmarking.sizes import ModelSize

    return bench_accuracy(ModelSize.parse(size, vocab_size), **settings)


@benchmark("linear", THREADS, SECONDS)
def _linear(*, seconds: float) -> Report:
    """Measure linear layers on the CPU, for few rows and for sparse inputs."""
    from modrwkv_core.benchmarking.linear import bench_linear

    return bench_linear(seconds=seconds)


@benchmark(
    "busy",
    click.option("--size", metavar="LxD", default="12x768", show_default=True, help="Layers x hidden size."),
    VOCAB_SIZE,
    click.option(
        "--spin-count",
        "spin_counts",
        type=click.IntRange(min=0),
        multiple=True,
        default=(SPIN_COUNT,),
        show_default=True,
        help="A value of GOMP_SPINCOUNT; may be repeated.",
    ),
    click.option("--threads", type=POSITIVE, help="Threads; by default what torch chooses."),
    SECONDS,
)
def _busy(*, size: str, vocab_size: int, spin_counts: tuple[int, ...], **settings: Any) -> Report:
    """Measure decoding while another program takes one core of the CPU, under several wait policies of the threads."""
    from modrwkv_core.benchmarking.busy import bench_busy
    from modrwkv_core.benchmarking.sizes import ModelSize

    policies: dict[str, dict[str, str]] = {"neither set": {}, "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"}}
    policies |= {f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in spin_counts}
    return bench_busy(ModelSize.parse(size, vocab_size), policies, **settings)


@benchmark("startup", SECONDS)
def _startup(*, seconds: float) -> Report:
    """Measure the processor time that commands take to start, beside their budgets."""
    from modrwkv_core.benchmarking.startup import bench_startup

    return bench_startup(seconds=seconds)


@benchmark("processors", SECONDS)
def _processors(*, seconds: float) -> Report:
    """Measure how fast one core prepares images and sound for each installed encoder, beside the budgets."""
    from modrwkv_core.benchmarking.processors import bench_processors

    return bench_processors(seconds=seconds)
