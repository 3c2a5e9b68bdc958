"""Ridge regression, DLinear and PatchTST on the public sets, by the protocol of the manifests beside this file.

    MODRWKV_DATA=path/to/data python examples/results/series_baselines.py exchange_rate ili --device cuda

Windows come from the source ``csv_windows``, errors from the metrics ``mse`` and ``mae`` of the task ``forecast``.
Each model reads a column by itself and is trained for one horizon; the validation rows choose the epoch, the learning
rate and the ridge's penalty. A line of JSON for each set, horizon, model and seed goes to the standard output.

B = windows of a batch, L = context length, H = horizon, P = patches, D = dimension of a patch's vector.

Source: DLinear, Zeng et al., AAAI 2023; PatchTST, Nie et al., ICLR 2023, without the attention scores that it hands on
from layer to layer.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from modrwkv_core.data.sources.config import CsvWindowsConfig
from modrwkv_core.data.sources.csv_windows import CsvWindowsSource
from modrwkv_core.evaluation.config import MeanAbsoluteErrorConfig, MeanSquaredErrorConfig
from modrwkv_core.evaluation.metrics import MeanAbsoluteError, MeanSquaredError

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of the ridge, as shares of the mean square of the points of a context."""


@dataclass(frozen=True)
class Set:
    """A table with its protocol and the sizes of models for it.

    Attributes:
        path: From the data root.
        borders: Rows at which training, validation and test end.
        context_length: L.
        horizons: All H.
        patch: Points of a patch, and from one to the next.
        sizes: D, heads and hidden size of PatchTST.
        lrs: Learning rates that are tried, by model.
        batch_size: B; a window of all columns counts as many as it has columns.
        epochs: Most passes over the data.
        patience: Passes without a better validation that end the training.
    """

    path: str
    borders: tuple[int, int, int]
    context_length: int
    horizons: tuple[int, ...]
    lrs: dict[str, tuple[float, ...]]
    patch: tuple[int, int] = (16, 8)
    sizes: tuple[int, int, int] = (16, 4, 128)
    batch_size: int = 896
    epochs: int = 20
    patience: int = 5


LONG = (96, 192, 336, 720)
USUAL = {"dlinear": (5e-4, 5e-3), "patchtst": (1e-4, 1e-3)}
SETS = {
    "etth1": Set("ett/ETTh1.csv", (8640, 11520, 14400), 512, LONG, USUAL),
    "etth2": Set("ett/ETTh2.csv", (8640, 11520, 14400), 512, LONG, USUAL),
    "ettm1": Set("ett/ETTm1.csv.gz", (34560, 46080, 57600), 512, LONG, USUAL, sizes=(128, 16, 256), epochs=10),
    "exchange_rate": Set("exchange_rate/exchange_rate.csv", (5311, 6071, 7588), 336, LONG, USUAL),
    "ili": Set(
        "ili/national_illness.csv",
        (676, 773, 966),
        104,
        (24, 36, 48, 60),
        {"dlinear": (5e-3, 2e-2), "patchtst": (1e-3, 2.5e-3)},
        patch=(24, 2),
        batch_size=112,
        epochs=60,
        patience=20,
    ),
}


def windows(chosen: Set, horizon: int, rows: tuple[int, int], data_root: Path) -> Tensor:
    """Return all windows whose forecasts lie in ``rows``, one after the other, ``[windows, L + H]``."""
    settings = {
        "path": chosen.path,
        "context_length": chosen.context_length,
        "horizon": horizon,
        "rows": rows,
        "normalize_rows": (0, chosen.borders[0]),
    }
    source = CsvWindowsSource(CsvWindowsConfig.model_validate(settings, context={"data_root": data_root}))
    stacked = np.empty((len(source), chosen.context_length + horizon), np.float32)
    for index in range(len(source)):
        user, assistant = source[index].turns
        stacked[index] = np.concatenate([user.parts[0].media.values, assistant.parts[0].value])[:, 0]
    return torch.from_numpy(stacked)


class DLinear(nn.Module):
    """A linear map of the moving average of 25 points, and one of the rest."""

    def __init__(self, chosen: Set, horizon: int) -> None:
        super().__init__()
        length = chosen.context_length
        self.average = nn.AvgPool1d(25, stride=1)
        self.trend, self.rest = nn.Linear(length, horizon), nn.Linear(length, horizon)
        for layer in (self.trend, self.rest):
            nn.init.constant_(layer.weight, 1 / length)

    def forward(self, x_BL: Tensor) -> Tensor:
        """Return forecasts ``[B, H]``."""
        ends = x_BL[:, :1].expand(-1, 12), x_BL, x_BL[:, -1:].expand(-1, 12)
        trend_BL = self.average(torch.cat(ends, dim=1)[:, None])[:, 0]
        return self.trend(trend_BL) + self.rest(x_BL - trend_BL)


class EncoderLayer(nn.Module):
    """Attention and a feed-forward network, each followed by batch normalization."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.network = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Return ``[B, P, D]``."""
        attended_BPD, _ = self.attention(x_BPD, x_BPD, x_BPD, need_weights=False)
        x_BPD = self._normed(0, x_BPD + self.dropout(attended_BPD))
        return self._normed(1, x_BPD + self.dropout(self.network(x_BPD)))

    def _normed(self, index: int, x_BPD: Tensor) -> Tensor:
        return self.norms[index](x_BPD.transpose(1, 2)).transpose(1, 2)


class PatchTST(nn.Module):
    """A transformer of three layers over overlapping patches of a context in its own units."""

    def __init__(self, chosen: Set, horizon: int, dropout: float = 0.3) -> None:
        super().__init__()
        dim, heads, hidden = chosen.sizes
        self.size, self.stride = chosen.patch
        patches = (chosen.context_length - self.size) // self.stride + 2  # the last point is repeated for one more
        self.gain, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        self.embed = nn.Linear(self.size, dim)
        self.place = nn.Parameter(torch.empty(patches, dim).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(EncoderLayer(dim, heads, hidden, dropout) for _ in range(3)))
        self.head = nn.Linear(patches * dim, horizon)

    def forward(self, x_BL: Tensor) -> Tensor:
        """Return forecasts ``[B, H]``."""
        mean_B1 = x_BL.mean(1, keepdim=True)
        scale_B1 = (x_BL.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        x_BL = (x_BL - mean_B1) / scale_B1 * self.gain + self.bias
        padded_BL = torch.cat([x_BL, x_BL[:, -1:].expand(-1, self.stride)], dim=1)
        x_BPD = self.dropout(self.embed(padded_BL.unfold(1, self.size, self.stride)) + self.place)
        forecast_BH = self.head(self.layers(x_BPD).flatten(1))
        return (forecast_BH - self.bias) / (self.gain + 1e-10) * scale_B1 + mean_B1


MODELS = {"dlinear": DLinear, "patchtst": PatchTST}


def errors(forecast: Callable[[Tensor], Tensor], data: Tensor, length: int) -> dict[str, float]:
    """Return the errors over all windows ``[windows, L + H]``."""
    mse, mae = MeanSquaredError(MeanSquaredErrorConfig()), MeanAbsoluteError(MeanAbsoluteErrorConfig())
    with torch.no_grad():
        for batch in data.split(4096):
            predicted, true = forecast(batch[:, :length]).cpu().numpy(), batch[:, length:].cpu().numpy()
            mse.update(predicted, true)
            mae.update(predicted, true)
    return {"mse": mse.compute(), "mae": mae.compute()}


def ridge(train: Tensor, valid: Tensor, length: int) -> tuple[Callable[[Tensor], Tensor], float]:
    """Fit a linear map of the context less its mean, in float64; return it and its penalty."""
    square = torch.zeros(length, length, dtype=torch.float64, device=train.device)
    product = torch.zeros(length, train.shape[1] - length, dtype=torch.float64, device=train.device)
    for batch in train.split(8192):
        centered = batch.double() - batch[:, :length].double().mean(1, keepdim=True)
        square += centered[:, :length].T @ centered[:, :length]
        product += centered[:, :length].T @ centered[:, length:]
    eye = square.diagonal().mean() * torch.eye(length, dtype=torch.float64, device=train.device)

    def of(penalty: float) -> Callable[[Tensor], Tensor]:
        weights = torch.linalg.solve(square + penalty * eye, product).float()
        return lambda x: (x - x.mean(1, keepdim=True)) @ weights + x.mean(1, keepdim=True)

    best = min(PENALTIES, key=lambda penalty: errors(of(penalty), valid, length)["mse"])
    return of(best), best


def trained(
    model: nn.Module, train: Tensor, valid: Tensor, chosen: Set, lr: float, seed: int
) -> tuple[nn.Module, float]:
    """Train until validations no longer get better; return the model of the best one, and its error."""
    length, generator = chosen.context_length, torch.Generator().manual_seed(seed)
    steps = -(-len(train) // chosen.batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps * chosen.epochs, pct_start=0.2)
    best, kept, stale = float("inf"), deepcopy(model.state_dict()), 0
    for _ in range(chosen.epochs):
        model.train()
        for chunk in torch.randperm(len(train), generator=generator).to(train.device).split(chosen.batch_size):
            batch = train[chunk]
            loss = nn.functional.mse_loss(model(batch[:, :length]), batch[:, length:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        found = errors(model.eval(), valid, length)["mse"]
        stale += 1
        if found < best:
            best, kept, stale = found, deepcopy(model.state_dict()), 0
        if stale == chosen.patience:
            break
    model.load_state_dict(kept)
    return model.eval(), best


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--models", nargs="+", default=["ridge", *MODELS], choices=["ridge", *MODELS])
    parser.add_argument("--horizons", nargs="+", type=int, help="by default those of the set")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="most passes over the data; by default those of the set")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    data_root = Path(os.environ["MODRWKV_DATA"])
    for name in arguments.sets:
        chosen = SETS[name]
        if arguments.epochs is not None:
            chosen = Set(**{**chosen.__dict__, "epochs": arguments.epochs})
        starts = (0, *chosen.borders)
        for horizon in arguments.horizons or chosen.horizons:
            train, valid, test = (
                windows(chosen, horizon, rows, data_root).to(arguments.device)
                for rows in zip(starts[:3], chosen.borders, strict=True)
            )
            for kind in arguments.models:
                for seed in arguments.seeds if kind in MODELS else [None]:
                    began = time.monotonic()
                    if seed is None:
                        model, setting = ridge(train, valid, chosen.context_length)
                    else:
                        candidates = []
                        for lr in chosen.lrs[kind]:
                            torch.manual_seed(seed)
                            fresh = MODELS[kind](chosen, horizon).to(arguments.device)
                            candidates.append((*trained(fresh, train, valid, chosen, lr, seed), lr))
                        model, _, setting = min(candidates, key=lambda candidate: candidate[1])
                    line = {"set": name, "horizon": horizon, "model": kind, "seed": seed, "windows": len(test)}
                    scores = errors(model, test, chosen.context_length)
                    seconds = round(time.monotonic() - began, 1)
                    print(json.dumps({**line, "setting": setting, **scores, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
