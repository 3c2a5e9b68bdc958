import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.placeholders import place_media
from modrwkv_core.interfaces.record import Media, Text

A, B = Media("image", "a"), Media("image", "b")
SOUND = Media("audio", "s")


def test_without_tags_media_lead() -> None:
    assert place_media(["What?", "And?"], [A, SOUND]) == [(A, SOUND, Text("What?")), (Text("And?"),)]


def test_tags_give_the_place() -> None:
    assert place_media(["<image>\nWhat?"], [A]) == [(A, Text("What?"))]
    assert place_media(["What?\n<image>"], [A]) == [(Text("What?"), A)]
    assert place_media(["<image> or <image>", "now"], [A, B]) == [(A, Text(" or "), B), (Text("now"),)]
    assert place_media(["first <image>", "then\n<image>\nand?"], [A, B]) == [
        (Text("first "), A),
        (Text("then"), B, Text("and?")),
    ]


def test_each_modality_for_itself() -> None:
    assert place_media(["see <image> now"], [SOUND, A]) == [(SOUND, Text("see "), A, Text(" now"))]
    assert place_media(["<audio><image><audio>"], [A, SOUND, Media("audio", "t")]) == [
        (SOUND, A, Media("audio", "t")),
    ]


def test_a_tag_of_nobody_stays_text() -> None:
    # The conversation's encoder refuses it: a text that names a signal which nobody gave.
    assert place_media(["<image>"], []) == [(Text("<image>"),)]


@pytest.mark.parametrize(("text", "media"), [("<image>", [A, B]), ("<image> <image>", [A])])
def test_counts_must_agree(text: str, media: list[Media]) -> None:
    with pytest.raises(DataError, match="<image> stands"):
        place_media([text], media)
