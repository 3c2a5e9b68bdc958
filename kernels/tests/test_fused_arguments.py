"""What the fused functions say to arguments that do not fit."""

import pytest
import torch
from modrwkv_kernels import CuSeqlens, ValueResidual, fused_k_update, gate_output, token_shift_mix

X, VECTOR, HEADS = torch.zeros(2, 5, 8), torch.zeros(8), torch.zeros(2, 5, 2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[0]}, r"x must be \[batch, tokens, hidden\], not \[5, 8\]"),
        ({"before": X[:1, 0]}, r"before is \[1, 8\] but x is \[2, 5, 8\]; it needs \[2, 8\]"),
        ({"mix": torch.zeros(6, 7)}, r"mix is \[6, 7\] but x is \[2, 5, 8\]; it needs \[6, 8\]"),
        ({"norm_weight": VECTOR[1:]}, r"norm_weight is \[7\]"),
        ({"norm_bias": VECTOR[1:]}, r"norm_bias is \[7\]"),
        ({"update": X[:1]}, r"update is \[1, 5, 8\]"),
        ({"update": X.to("meta")}, "update is on meta but x is on cpu"),
        (
            {"cu_seqlens": CuSeqlens.of([0, 5])},
            r"with cu_seqlens the tokens are packed, \[1, 5, hidden\], but x is \[2, 5, 8\]",
        ),
    ],
)
def test_token_shift_mix(change, message):
    arguments = {"x": X, "before": X[:, 0], "mix": torch.zeros(6, 8), "norm_weight": VECTOR, "norm_bias": VECTOR}
    with pytest.raises(ValueError, match=message):
        token_shift_mix(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": X[0]}, r"k must be \[batch, tokens, a multiple of 4\], not \[5, 8\]"),
        ({"head_size": 3}, r"a multiple of 3\], not \[2, 5, 8\]"),
        ({"v": X[:1]}, r"v is \[1, 5, 8\] but k is \[2, 5, 8\]"),
        ({"decay": X[:1]}, r"decay is \[1, 5, 8\]"),
        ({"rate": X[:1]}, r"rate is \[1, 5, 8\]"),
        ({"k_k": VECTOR[1:]}, r"k_k is \[7\] but k is \[2, 5, 8\]; it needs \[8\]"),
        ({"k_a": VECTOR[1:]}, r"k_a is \[7\]"),
        ({"residual": ValueResidual(X[:1], X)}, r"v_first is \[1, 5, 8\]"),
        ({"residual": ValueResidual(X, X[:1])}, r"logit is \[1, 5, 8\]"),
    ],
)
def test_fused_k_update(change, message):
    arguments = {"k": X, "v": X, "decay": X, "rate": X, "k_k": VECTOR, "k_a": VECTOR, "head_size": 4}
    with pytest.raises(ValueError, match=message):
        fused_k_update(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": X}, r"y must be \[batch, tokens, heads, head size\], not \[2, 5, 8\]"),
        ({"r": X}, r"r is \[2, 5, 8\] but y is \[2, 5, 2, 4\]"),
        ({"k": X}, "k is"),
        ({"v": X}, "v is"),
        ({"gate": HEADS}, r"gate is \[2, 5, 2, 4\] but y is \[2, 5, 2, 4\]; it needs \[2, 5, 8\]"),
        ({"r_k": VECTOR}, r"r_k is \[8\] but y is \[2, 5, 2, 4\]; it needs \[2, 4\]"),
        ({"norm_weight": VECTOR[1:]}, r"norm_weight is \[7\]"),
        ({"norm_bias": VECTOR[1:]}, r"norm_bias is \[7\]"),
    ],
)
def test_gate_output(change, message):
    arguments = dict.fromkeys("yrkv", HEADS) | {"gate": X, "r_k": HEADS[0, 0]}
    arguments |= {"norm_weight": VECTOR, "norm_bias": VECTOR, "eps": 1e-3}
    with pytest.raises(ValueError, match=message):
        gate_output(**(arguments | change))
