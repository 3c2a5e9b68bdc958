"""The model ``modrwkv`` of lmms-eval: for tasks of conversations, and for those of prompts beside media."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.request import Request
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_eval.generation import GenerationOptions
from modrwkv_eval.loading import engine_settings, load_session
from modrwkv_eval.media import Documents, part_of, parts_of_visuals

__all__ = ["ModRWKVChat", "ModRWKVSimple"]


class _ModRWKV(lmms):
    """A trained run in lmms-eval.

    Args:
        run: The run's folder.
        checkpoint: ``last``, ``best`` or a step.
        device: Where to compute; None takes a GPU if there is one.
        weights: How the backbone's weights are stored for answering, as :func:`modrwkv_core.load` takes it.
        state: File of the state that every conversation begins with; None takes the run's own.
        head: Name of the token head; None takes the only one.
        batch_size: Conversations that are answered or scored together.
        max_new_tokens: Tokens of an answer if the task sets no limit.
        system_prompt: What the system says first, or a file that holds it; None says nothing.

    Raises:
        ModRWKVError: The run cannot be loaded; an argument is out of its range.
    """

    def __init__(
        self,
        run: str,
        checkpoint: str | int = "last",
        device: str | None = None,
        weights: str = "auto",
        state: str | None = None,
        head: str | None = None,
        batch_size: int | str = 1,
        max_new_tokens: int = 256,
        system_prompt: str | None = None,
    ) -> None:
        super().__init__()
        self.session, self.batch_size = load_session(
            run, checkpoint=checkpoint, device=device, weights=weights, state=state, batch_size=batch_size
        )
        self.head = self.session.head_names.token(head)
        self.max_new_tokens = max_new_tokens
        spoken = None if system_prompt is None else self._resolve_system_prompt(system_prompt)
        self._system = (Turn("system", (Text(spoken),)),) if spoken else ()
        self._documents: dict[tuple[str, str], Documents] = {}

    @abstractmethod
    def _asked(self, *arguments: Any) -> tuple[tuple[Turn, ...], dict[str, Any]]:
        """Return the conversation of a request for an answer, and its arguments of generation."""

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answer conversations until a stop string, the end of the turn, or the limit of tokens."""
        made = (self._request(*self._asked(*request.args)) for request in tqdm(requests, "Answering"))
        return [
            GenerationResult(answer.text, TokenCounts(answer.usage.prompt_tokens, answer.usage.completion_tokens))
            for answer in self.session.generate_batch(made, engine_settings(self.batch_size))
        ]

    def _request(self, turns: tuple[Turn, ...], arguments: dict[str, Any]) -> Request:
        options = GenerationOptions.of(arguments, self.max_new_tokens)
        return Request(
            turns, max_tokens=options.max_tokens, sampling=options.sampling, stop=options.stop, head=self.head
        )

    def loglikelihood(self, requests: list[Instance]) -> list[GenerationResult]:
        """Score continuations as beginnings of the answer to a prompt beside media.

        The space that separates a continuation from its prompt is not scored: the chat template separates them. A
        request without a document asks how likely its continuation is as a plain text after nothing.

        Returns:
            For each, the negative sum of its tokens' log-probabilities, and whether it is the greedy one. The harness
            takes the choice of the lowest loss, whatever the name of this method says.
        """
        found: list[LogLikelihood] = []
        for start in tqdm(range(0, len(requests), self.batch_size), "Scoring"):
            found += self._scores([request.args for request in requests[start : start + self.batch_size]])
        # The harness unwraps the pairs; in 0.7.3, it would make strings of bare ones.
        return [GenerationResult((-one.total, one.greedy)) for one in found]

    def _scores(self, batch: Sequence[tuple[Any, ...]]) -> list[LogLikelihood]:
        # The choices of a question follow one conversation, which is read once.
        conversations: dict[tuple[Any, ...], tuple[Turn, ...]] = {}
        found: dict[int, LogLikelihood] = {}
        asked = []
        for at, (prompt, continuation, *place) in enumerate(batch):
            if not place:
                [found[at]] = self.session.log_likelihoods([()], [continuation], self.head, chat=False)
                continue
            doc_to_visual, index, task, split = place
            document = self._document(task, split, index)
            key = (prompt, task, split, index)
            if key not in conversations:
                conversations[key] = self._turns(prompt, doc_to_visual(document))
            text = continuation if isinstance(continuation, str) else continuation(document)
            asked.append((at, conversations[key], text.lstrip()))
        if asked:
            places, turns, texts = zip(*asked, strict=True)
            found |= dict(zip(places, self.session.log_likelihoods(turns, texts, self.head, end=False), strict=True))
        return [found[at] for at in range(len(batch))]

    def _turns(self, prompt: str, visuals: Sequence[Any] | None) -> tuple[Turn, ...]:
        return (*self._system, Turn("user", (*parts_of_visuals(visuals), Text(prompt))))

    def _document(self, task: str, split: str, index: int) -> dict[str, Any]:
        if (task, split) not in self._documents:
            self._documents[task, split] = Documents(self.task_dict[task][split])
        return self._documents[task, split][index]

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Refuse tasks whose questions depend on earlier answers.

        Raises:
            ModRWKVError: Always.
        """
        raise ModRWKVError(
            "tasks of several rounds are not supported", component="lmms-eval", hint="leave this task out"
        )


class ModRWKVChat(_ModRWKV):
    """Answers conversations, as lmms-eval's tasks give them by ``doc_to_messages``."""

    is_simple = False

    def _asked(self, *arguments: Any) -> tuple[tuple[Turn, ...], dict[str, Any]]:
        _, doc_to_messages, generation, index, task, split = arguments
        messages = doc_to_messages(self._document(task, split, index))
        turns = tuple(Turn(one["role"], tuple(map(part_of, one["content"]))) for one in messages)
        own = self._system if turns[0].role != "system" else ()
        return (*own, *turns), generation


class ModRWKVSimple(_ModRWKV):
    """Answers prompts that stand behind media; with ``--force_simple``, which tasks of likelihoods need."""

    is_simple = True

    def _asked(self, *arguments: Any) -> tuple[tuple[Turn, ...], dict[str, Any]]:
        prompt, generation, doc_to_visual, index, task, split = arguments
        return self._turns(prompt, doc_to_visual(self._document(task, split, index))), generation
