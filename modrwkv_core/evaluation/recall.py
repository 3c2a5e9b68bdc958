"""The recall task: questions about a stream, scored by how long ago the answer was shown."""

from __future__ import annotations

from bisect import bisect_right

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import RecallConfig
from modrwkv_core.evaluation.exact_match import AnswerTask
from modrwkv_core.interfaces.record import Record

__all__ = ["RecallTask"]


class RecallTask(AnswerTask[RecallConfig]):
    """Scores questions also apart by the annotation ``distance`` of their records."""

    def group(self, record: Record, answer: str) -> str:
        """Name the stretch of distances that the record's lies in.

        Raises:
            DataError: The record has no such annotation, or it is not a number of items.
        """
        distance = record.annotations.get("distance")
        if not isinstance(distance, int) or isinstance(distance, bool) or distance < 0:
            raise DataError(
                f"{record.key}: 'distance' should be a number of items, not {distance!r}",
                component=f"task/{self.config.type}",
                hint="read streams from the source `needle` or `photo_stream`, or annotate records with it",
            )
        edges = (0, *self.config.edges)
        place = bisect_right(edges, distance)
        first = edges[place - 1]
        return f"distance {first} to {edges[place] - 1}" if place < len(edges) else f"distance {first} and more"
