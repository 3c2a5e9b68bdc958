"""The signals of lmms-eval's documents, as a session takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import datasets
import PIL.Image

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Text
from modrwkv_core.modalities.audio import AudioModality

__all__ = ["Documents", "part_of", "parts_of_visuals"]

_IMAGES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tiff", ".webp")
_SOUNDS: Final = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")


class Documents:
    """The documents of a split, whose sounds are decoded without torchcodec.

    In the place of a sound stands a dictionary: ``array`` and ``sampling_rate`` as tasks expect them, and ``type`` and
    ``url``, by which lmms-eval makes it a part of a message.

    Args:
        split: A split of a dataset, or any sequence of documents.
    """

    def __init__(self, split: Any) -> None:
        features = getattr(split, "features", None) or {}
        self._sounds = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
        for name in self._sounds:
            split = split.cast_column(name, datasets.Audio(decode=False))
        self._split = split
        self._modality = AudioModality()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a document.

        Raises:
            DataError: One of its sounds cannot be decoded.
        """
        document = self._split[index]
        for name in self._sounds:
            file = document[name]
            if file is not None:
                waveform = self._modality.decode(file["path"] if file["bytes"] is None else file["bytes"])
                sound = {"array": waveform.samples, "sampling_rate": waveform.rate, "path": file["path"]}
                document = {**document, name: {**sound, "type": "audio", "url": waveform}}
        return dict(document)


def part_of(content: Mapping[str, Any]) -> Part:
    """Return a part of a message as a part of a turn.

    Raises:
        DataError: It is a section of a video, which no modality cuts out.
    """
    kind = content["type"]
    if kind == "text":
        return Text(content["text"])
    if content.get("start_time") is not None or content.get("end_time") is not None:
        raise DataError(
            "the task asks about a section of a video", component="task", hint="cut the videos of the dataset first"
        )
    return Media(kind, content["url"])


def parts_of_visuals(visuals: Iterable[Any] | None) -> Iterator[Media]:
    """Yield what a task shows beside its prompt as parts of a turn.

    Raises:
        DataError: It is none of an image, a sound and the path of a file.
    """
    for visual in visuals or ():
        match visual:
            case list() | tuple():
                yield from parts_of_visuals(visual)
            case PIL.Image.Image():
                yield Media("image", visual)
            case {"array": array, "sampling_rate": rate}:
                yield Media("audio", (array, rate))
            case {"type": str(kind), "url": url}:
                yield Media(kind, url)
            case str() | Path():
                yield Media(_modality_of(Path(visual)), visual)
            case _:
                raise DataError(
                    f"the task shows a {type(visual).__name__}, which is no image, sound or path",
                    hint="evaluate it without --force_simple",
                )


def _modality_of(path: Path) -> str:
    suffix = path.suffix.lower()
    return "image" if suffix in _IMAGES else "audio" if suffix in _SOUNDS else "video"
