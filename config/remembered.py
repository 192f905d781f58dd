"""Pure functions of texts that remember what they gave.

Invariant: the texts that one remembers have at most so many characters in all, whoever sends them and however long each is:
a number of texts alone would bound nothing. What was used least recently goes first.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
Text = str | bytes


class Remembered(Generic[T]):
    """The function, with a memory. Its result is shared: it must not be changed."""

    def __init__(self, function: Callable[..., T], *, most_characters: int) -> None:
        self.__wrapped__ = function
        self._most_characters = most_characters
        self._kept: OrderedDict[tuple[Text, ...], T] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def __call__(self, *texts: Text) -> T:
        with self._lock:
            if texts in self._kept:
                self._kept.move_to_end(texts)
                return self._kept[texts]
        result = self.__wrapped__(*texts)
        with self._lock:
            if texts not in self._kept:
                self._kept[texts] = result
                self._characters += _length(texts)
            while self._characters > self._most_characters:
                oldest, _ = self._kept.popitem(last=False)
                self._characters -= _length(oldest)
        return result

    @property
    def characters(self) -> int:
        """Of all texts that it remembers."""
        return self._characters


def remembered(*, most_characters: int) -> Callable[[Callable[..., T]], Remembered[T]]:
    """Make a function remember."""
    return lambda function: Remembered(function, most_characters=most_characters)


def _length(texts: tuple[Text, ...]) -> int:
    return sum(map(len, texts)) + 1  # an empty one costs something, too
