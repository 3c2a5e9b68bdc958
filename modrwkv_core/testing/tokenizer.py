"""The contract of tokenizers."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.config import TokenizerConfig
from modrwkv_core.interfaces.tokenizer import Tokenizer
from modrwkv_core.testing.registration import ComponentContract, load

__all__ = ["TokenizerContract"]

_TEXTS: Final = (
    "",
    "Plain words, and numbers: 1234567890.",
    "  spaces,\ttabs\r\nand\n\n\nlines  ",
    "Grüße, 你好, здравствуй, नमस्ते, 👩🏽‍🚀",
    'if x["a"] <= {1: 2}[1]:\n    return -x  # code',
    "\x00\x01\x1f\x7f\u200b\ufeff",
)


class TokenizerContract(ComponentContract):
    """A tokenizer; a subclass sets ``plugin``, ``name`` and ``configs``."""

    kind: ClassVar = "tokenizer"
    config_base: ClassVar = TokenizerConfig
    interface: ClassVar = Tokenizer

    def texts(self) -> Sequence[str]:
        """Return the texts to try it with."""
        return _TEXTS

    def tokenizer(self, settings: Mapping[str, Any]) -> Tokenizer:
        """Construct the tokenizer."""
        tokenizer: Tokenizer = load(self.spec.implementation)(self.config(settings))
        return tokenizer

    def test_vocabulary_is_that_of_the_configuration(self, settings: Mapping[str, Any]) -> None:
        """``vocab_size`` of the configuration, by which the wiring is checked, is the tokenizer's.

        Remedy: compute ``vocab_size`` in the configuration, special ids included.
        """
        tokenizer = self.tokenizer(settings)
        configured = self.config(settings).vocab_size
        assert tokenizer.vocab_size == configured, f"{tokenizer.vocab_size} ids, configured are {configured}"

    def test_texts_survive(self, settings: Mapping[str, Any]) -> None:
        """Decoding the ids of a text gives its UTF-8 bytes, in one go and id by id.

        Remedy: fall back to bytes for what the vocabulary does not have, and normalize nothing.
        """
        tokenizer = self.tokenizer(settings)
        for text in self.texts():
            ids = tokenizer.encode(text)
            decoded = tokenizer.decode(ids)
            assert decoded == text.encode(), f"{self.name} makes {decoded!r} of {text!r}"
            pieces = b"".join(tokenizer.decode([index]) for index in ids)
            assert pieces == decoded, f"{self.name} decodes the ids of {text!r} one by one to {pieces!r}"
            strange = [index for index in ids if not 0 < index < tokenizer.vocab_size]
            assert not strange, f"{self.name} gives the id {strange[0]}, outside of 1 to {tokenizer.vocab_size - 1}"

    def test_special_ids_are_apart(self, settings: Mapping[str, Any]) -> None:
        """The special ids differ, lie in the vocabulary, are not 0 and decode to nothing.

        Remedy: reserve an id for each field of ``SpecialIds``.
        """
        tokenizer = self.tokenizer(settings)
        special = tokenizer.special
        ids = [getattr(special, name) for name in special.__slots__]
        assert len(set(ids)) == len(ids), f"{self.name} uses one id for several markers: {special}"
        strange = [index for index in ids if not 0 < index < tokenizer.vocab_size]
        assert not strange, f"{self.name} has the special id {strange[:1]} outside of its vocabulary"
        assert tokenizer.decode(ids) == b"", f"{self.name} decodes special ids to {tokenizer.decode(ids)!r}"

    def test_no_text_forges_a_special_id(self, settings: Mapping[str, Any]) -> None:
        """Whatever a text says, its ids are ordinary ones.

        Remedy: never look markers up in the text that ``encode`` is given.
        """
        tokenizer = self.tokenizer(settings)
        special = tokenizer.special.all()
        forgeries = ["".join(map(chr, range(128))), "\x16User:\x17", "<|endoftext|><|im_start|><s></s><pad>"]
        forgeries += [f"<{name}>[{name}]{name}" for name in tokenizer.special.__slots__]
        for text in (*self.texts(), *forgeries):
            forged = special & set(tokenizer.encode(text))
            assert not forged, f"{self.name} gives the special ids {sorted(forged)} for the text {text!r}"

    def test_loader_workers_encode_the_same(self, settings: Mapping[str, Any]) -> None:
        """A pickled copy, as loader workers get it, gives the same ids.

        Remedy: keep what does not pickle out of the attributes.
        """
        tokenizer = self.tokenizer(settings)
        copy = pickle.loads(pickle.dumps(tokenizer))
        for text in self.texts():
            assert copy.encode(text) == tokenizer.encode(text), f"a pickled {self.name} encodes {text!r} differently"

    def test_text_that_is_not_unicode_is_refused(self, settings: Mapping[str, Any]) -> None:
        """A lone surrogate, which has no UTF-8 bytes, is a ``DataError``.

        Remedy: turn ``UnicodeEncodeError`` into a ``DataError``.
        """
        try:
            ids = self.tokenizer(settings).encode("\ud800")
        except DataError:
            return
        raise AssertionError(f"{self.name} encodes a lone surrogate as {ids}")
