from collections.abc import Iterator
from typing import Any

import torch

from modrwkv_core.training.prefetch import batches_on


def test_a_cpu_gets_the_batches_themselves_one_at_a_time() -> None:
    loaded: list[Any] = []

    def loading() -> Iterator[Any]:
        for batch in ((object(), None), (object(),), (None,)):
            loaded.append(batch)
            yield batch

    for count, batch in enumerate(batches_on(torch.device("cpu"), loading()), start=1):
        assert batch is loaded[-1]
        assert len(loaded) == count, "nothing is read ahead: an error belongs to the step that needs the batch"
