"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from modrwkv_core.errors import CheckpointError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there takes the place of ``path`` in one step.

    Raises:
        CheckpointError: Writing failed (disk full, folder missing, ...); a former ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    # torch reports a failed write as RuntimeError.
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot write {path}: {error}", hint="check the folder and the free space; a former file is untouched"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
