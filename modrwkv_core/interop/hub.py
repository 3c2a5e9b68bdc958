"""Runs on the Hugging Face Hub: a run's folder, without what only training needs, is a repository."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, get_token, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

# The base of what the HTTP library raises, whichever one this version of the client uses.
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]

from modrwkv_core.errors import CheckpointError, HubError
from modrwkv_core.interop.card import write_card
from modrwkv_core.model.run import RunFolder

__all__ = ["pull", "push"]

_FILES: Final = ("README.md", "manifest.yaml", "lock.json", "metrics.jsonl", "results.json")
_LEFT_OUT: Final = "*/optimizer.safetensors"


def push(run: Path, repository: str, *, private: bool, checkpoint: str = "last") -> str:
    """Publish a run: manifest, lock, metrics, results, model card, and a checkpoint without the optimizer.

    The earlier checkpoint of the repository is removed; the report, which shows records of the data, stays here.

    Args:
        run: The run's folder. A model card is written into it unless it has a ``README.md``.
        repository: ``owner/name``; made if there is none.
        private: Whether a repository that is made is private.
        checkpoint: Which one; see :meth:`~modrwkv_core.model.run.RunFolder.select`.

    Returns:
        The address of the repository.

    Raises:
        CheckpointError: The folder holds no run.
        HubError: There is no token, or the Hub refuses or cannot be reached.
    """
    folder = RunFolder(run)
    chosen = folder.select(checkpoint)
    if get_token() is None:
        raise HubError(
            "to publish takes a token of the Hugging Face Hub, and there is none here",
            hint="log in with `hf auth login`, or set HF_TOKEN to a token with write access",
        )
    write_card(folder, repository)
    with _explained(repository):
        api = HfApi()
        address = str(api.create_repo(repository, private=private, exist_ok=True))
        api.upload_folder(
            repo_id=repository,
            folder_path=run,
            commit_message=f"{run.resolve().name}, {chosen.name}",
            allow_patterns=[*_FILES, f"checkpoints/{chosen.name}/*"],
            ignore_patterns=_LEFT_OUT,
            delete_patterns="checkpoints/*",
        )
    return address


def pull(repository: str, run: Path, *, revision: str | None = None) -> None:
    """Fetch a run; what was fetched before a failure is kept, and a repetition goes on from there.

    Args:
        repository: ``owner/name``.
        run: The folder to make.
        revision: A branch, placeholder or commit; None takes the main branch.

    Raises:
        CheckpointError: ``run`` exists, or the repository holds no run.
        HubError: There is no such repository, or the Hub refuses or cannot be reached.
    """
    if run.exists():
        raise CheckpointError(f"{run} already exists", hint="name another folder, or remove this one")
    partial = run.with_name(f".{run.name}.partial")
    with _explained(repository):
        files = HfApi().list_repo_files(repository, revision=revision)
        steps = sorted({file.split("/")[1] for file in files if file.startswith("checkpoints/step-")})
        if "manifest.yaml" not in files or not steps:
            raise CheckpointError(
                f"{repository} holds no run of ModRWKV: no manifest.yaml and checkpoints",
                hint="weights alone are read by `modrwkv convert` or named in a manifest",
            )
        wanted = [file for file in files if file in _FILES or file.startswith(f"checkpoints/{steps[-1]}/")]
        snapshot_download(repository, revision=revision, local_dir=partial, allow_patterns=wanted)
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # the Hub's own notes
    partial.rename(run)


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise HubError(f"{repository!r} is not the name of a repository", hint="it is owner/name") from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repository} has no such revision", hint="name a branch, a tag or a commit") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"the Hub gives us no repository {repository}",
            hint="check the spelling; a private or gated one needs `hf auth login` with an account that may read it",
        ) from error
    except HfHubHTTPError as error:
        raise HubError(
            f"the Hub refuses {repository}: {error.server_message or error}",
            hint="`hf auth whoami` says whose token is used; to publish, it needs write access",
        ) from error
    except (TransportError, OSError) as error:
        raise HubError(
            f"the Hub cannot be reached: {error}", hint="check the network, HF_ENDPOINT and HF_HUB_OFFLINE, and repeat"
        ) from error
