"""``modrwkv doctor``: what this machine can do."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import click

PACKAGES = ("modrwkv", "modrwkv-kernels", "torch", "triton", "numpy", "pydantic", "transformers", "timm", "torchaudio")

FORWARD = "the backbone's forward pass"


@click.command()
@click.option("--deep", is_flag=True, help="Import the plugins' configurations and implementations, too.")
@click.pass_context
def doctor(ctx: click.Context, deep: bool) -> None:
    """Show versions, devices, kernels and plugins of this machine; exit with 1 if something is wrong.

    It stops at the first section that cannot be looked at: what follows would fail for the same reason.
    """
    from modrwkv_core.cli.diagnosis import diagnose

    for title, look in (("versions", _versions), ("computing", _devices), ("kernels, by preference", _kernels)):
        try:
            rows = look()
        except Exception as error:  # a broken installation is what this command is for
            _show(title, [("failed", f"{type(error).__name__}: {error}")])
            ctx.exit(1)
        _show(title, rows)
    diagnosis = diagnose(deep=deep)
    _show(
        "plugins", [(plugin.name, f"{plugin.state} {plugin.reason}".rstrip()) for plugin in diagnosis.registry.plugins]
    )
    for problem in diagnosis.problems:
        click.echo(f"{problem}\n")
    ctx.exit(1 if diagnosis.problems else 0)


def _show(title: str, rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    click.echo(title)
    for name, value in rows:
        click.echo(f"  {name.ljust(width)}  {value}")
    click.echo()


def _versions() -> list[tuple[str, str]]:
    rows = [("python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    return rows


def _devices() -> list[tuple[str, str]]:
    import torch

    rows = [
        ("processor", f"{platform.machine()}, {os.cpu_count()} cores"),
        ("threads", f"{torch.get_num_threads()} within an operation, {torch.get_num_interop_threads()} between them"),
    ]
    if not torch.cuda.is_available():
        built_for = (
            f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without it"
        )
        return [*rows, ("CUDA", f"not available: {built_for}")]
    rows.append(("CUDA", torch.version.cuda or "through ROCm"))
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        capability = f"compute capability {device.major}.{device.minor}"
        rows.append((f"cuda:{index}", f"{device.name}, {device.total_memory / 2**30:.1f} GiB, {capability}"))
    return rows


def _kernels() -> list[tuple[str, str]]:
    import torch
    from modrwkv_kernels import explain_dispatch
    from modrwkv_kernels.capability import amx_unavailable_reason
    from modrwkv_kernels.native import build_summary, native_unavailable_reason

    rows = [("compiled CPU kernels", build_summary())]
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        dispatch = explain_dispatch(device=device)
        rows += [
            (
                f"{device}: {name}",
                f"unavailable: {reason}" if reason else "chosen" if name == dispatch.chosen else "available",
            )
            for name, reason in dispatch.reasons.items()
        ]
        rows.append((f"{device}: fused stages", explain_dispatch(operation="gate_output", device=device).chosen))
        decode = explain_dispatch(operation="decode", device=device)
        reason = decode.reasons["triton" if device == "cuda" else "cpu"]
        served = {"cpu": "compiled, a token in one call", "triton": "Triton kernels in a CUDA graph"}
        rows.append((f"{device}: decoding", f"{FORWARD}: {reason}" if reason else served[decode.chosen]))
    missing, no_amx = native_unavailable_reason(), amx_unavailable_reason()
    if missing:
        products = f"torch: {missing}"
    elif no_amx:
        products = f"compiled for few tokens and for sparse inputs, else torch: {no_amx}"
    else:
        products = "compiled for few tokens, and on AMX units for bfloat16 weights"
    rows.append(("cpu: linear layers", products))
    return rows
