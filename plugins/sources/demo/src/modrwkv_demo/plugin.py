"""Registers the sources; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the sources ``digits_qa``, ``keypad_tones``, ``measured_series`` and ``needle``."""
    return [
        ComponentSpec(
            api=1,
            kind="source",
            name="digits_qa",
            summary="questions about scikit-learn's scanned digits",
            config="modrwkv_demo.config:DigitsQaConfig",
            implementation="modrwkv_demo.digits_qa:DigitsQaSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="keypad_tones",
            summary="which keys of a telephone were pressed? Synthesized tones in noise",
            config="modrwkv_demo.config:KeypadTonesConfig",
            implementation="modrwkv_demo.keypad_tones:KeypadTonesSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="measured_series",
            summary="windows of statsmodels' measured series: sunspots, carbon dioxide, El Nino",
            config="modrwkv_demo.config:MeasuredSeriesConfig",
            implementation="modrwkv_demo.measured_series:MeasuredSeriesSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="needle",
            summary="named digits in long streams of text, images or sounds, asked for at the end",
            config="modrwkv_demo.config:NeedleConfig",
            implementation="modrwkv_demo.needle:NeedleSource",
            paper="Zoology, arXiv 2312.04927",
        ),
    ]
