"""The reference against the definition, written once more in numpy with explicit loops over heads and sequences."""

import numpy as np
import pytest
import torch
from modrwkv_kernels import wkv7


def numpy_wkv7(r, log_w, k, v, a, b, state):
    tokens, size = r.shape
    y = np.zeros((tokens, size))
    for t in range(tokens):
        transition = np.diag(np.exp(log_w[t])) + np.outer(a[t], b[t])
        state = state @ transition + np.outer(v[t], k[t])
        y[t] = state @ r[t]
    return y, state


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_follows_the_recurrence(bench, backend):
    batch, tokens, heads, size = 2, 21, 3, 8
    six = bench.inputs("easy", batch, tokens, heads, size)
    state = bench.state(batch, heads, size)
    y, final = wkv7(*six, state=state, output_state=True, backend=backend)
    for i in range(batch):
        for h in range(heads):
            expected_y, expected_state = numpy_wkv7(*(x[i, :, h].numpy() for x in six), state[i, h].numpy())
            np.testing.assert_allclose(y[i, :, h], expected_y, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(final[i, h], expected_state, rtol=1e-12, atol=1e-12)


def test_hand_computed_step():
    # One head of width 2: u = S a, then S diag(w) + u b' + v k', then y = S r.
    def row(*numbers):
        return torch.tensor(numbers, dtype=torch.float64).view(1, 1, 1, 2)

    state = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64).view(1, 1, 2, 2)
    y, final = wkv7(
        row(1, -1), row(0, np.log(0.75)), row(2, 0), row(5, 7), row(-1, 0), row(0.5, 0), state=state, output_state=True
    )
    # u = (-1, -3); decayed = [[1, 1.5], [3, 3]]; u b' = [[-.5, 0], [-1.5, 0]]; v k' = [[10, 0], [14, 0]]
    torch.testing.assert_close(final.view(2, 2), torch.tensor([[10.5, 1.5], [15.5, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(y.view(2), torch.tensor([9.0, 12.5], dtype=torch.float64))


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_gradients_match_finite_differences(bench, backend):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 19, 1, 3)]
    six[1] = (six[1].detach() * 0.9 - 0.01).requires_grad_()  # room for the finite differences within the range
    state = bench.state(1, 1, 3).requires_grad_()

    def run(*tensors):
        *inputs, start = tensors
        return wkv7(*inputs, state=start, output_state=True, backend=backend)

    assert torch.autograd.gradcheck(run, (*six, state))
