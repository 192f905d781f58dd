"""Functions that remember what they gave for a text."""

from config.remembered import Remembered, remembered


def counting(*, most_characters: int) -> tuple[Remembered[str], list[tuple[str, ...]]]:
    asked: list[tuple[str, ...]] = []

    @remembered(most_characters=most_characters)
    def joined(*texts: str) -> str:
        asked.append(texts)
        return "+".join(texts)

    return joined, asked


def test_it_works() -> None:
    joined, asked = counting(most_characters=100)
    assert [joined("a", "b"), joined("a", "b"), joined("b", "a")] == ["a+b", "a+b", "b+a"]
    assert asked == [("a", "b"), ("b", "a")]


def test_what_was_used_least_recently_goes_first() -> None:
    joined, asked = counting(most_characters=8)
    for text in ("aaa", "bbb", "aaa", "ccc", "aaa", "bbb"):
        joined(text)
    assert asked == [("aaa",), ("bbb",), ("ccc",), ("bbb",)]


def test_it_never_holds_more_characters_than_it_may() -> None:
    joined, _ = counting(most_characters=1_000)
    for number in range(500):
        assert joined(str(number) * (number % 50)) == str(number) * (number % 50)
        assert joined.characters <= 1_000


def test_a_text_longer_than_all_that_is_kept_is_answered_and_not_kept() -> None:
    joined, asked = counting(most_characters=10)
    assert joined("x" * 100) == joined("x" * 100)
    assert (len(asked), joined.characters) == (2, 0)


def test_empty_texts_are_bounded_as_well() -> None:
    joined, _ = counting(most_characters=10)
    for number in range(100):
        joined(*[""] * number)
    assert joined.characters <= 10
