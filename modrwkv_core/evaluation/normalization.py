"""How published scorers rewrite answers before they compare them."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

__all__ = ["NORMALIZERS", "Normalization", "normalize_case", "normalize_squad", "normalize_vqa"]

Normalization: TypeAlias = Literal["case", "squad", "vqa"]

_ARTICLES: Final = ("a", "an", "the")


def normalize_case(text: str) -> str:
    """Forgive letter case and surrounding space."""
    return text.strip().casefold()


def normalize_squad(text: str) -> str:
    """Forgive letter case, punctuation, English articles and the amount of space.

    Source: the official evaluation of SQuAD 1.1, Rajpurkar et al., EMNLP 2016.
    """
    bare = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(re.sub(rf"\b({'|'.join(_ARTICLES)})\b", " ", bare).split())


_WITHOUT_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def normalize_vqa(text: str) -> str:
    """Forgive letter case, punctuation, English articles, numbers in words, and apostrophes of contractions.

    Source: the official evaluation of VQA v2, Goyal et al., CVPR 2017: https://visualqa.org/evaluation.html.
    """
    text = text.replace("\n", " ").replace("\t", " ").replace("\u2019", "'").strip()
    digits_with_comma = re.search(r"\d,\d", text) is not None
    bare = text
    for mark in _MARKS:
        # A mark within a word parts it; one at a word's edge, or anywhere beside a number such as 1,000, just goes.
        goes = f"{mark} " in text or f" {mark}" in text or digits_with_comma
        bare = bare.replace(mark, "" if goes else " ")
    bare = re.sub(r"\.(?!\d)", "", bare)
    words = (_NUMBERS.get(word, word) for word in bare.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


_MARKS: Final = ';/[]"{}()=+\\_-><@`,?!'

_NUMBERS: Final = {
    "none": "0",
    **{
        word: str(number)
        for number, word in enumerate(
            ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
        )
    },
}

_SINGLE: Final = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't
    it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
    somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's
    they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's
    where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
    """
_SEVERAL: Final = """
    couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've someone'd've
    something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
    """
"""Contractions that are known without their apostrophe, and without one of their apostrophes."""

_CONTRACTIONS: Final = {
    **{word.replace("'", ""): word for word in _SINGLE.split()},
    **{
        word[: place.start()] + word[place.end() :]: word
        for word in _SEVERAL.split()
        for place in re.finditer("'", word)
    },
    "somebody'd": "somebodyd",  # as published
}

NORMALIZERS: Final[Mapping[Normalization, Callable[[str], str]]] = {
    "case": normalize_case,
    "squad": normalize_squad,
    "vqa": normalize_vqa,
}
