"""Somebody without a mouse: every step of a journey is a key. What the keyboard does not reach cannot be pressed here.

Invariant: nothing is clicked, focused or filled in but by keys; a page is opened by its address, as one types it.
"""

from dataclasses import dataclass
from typing import Any, Final

MOST_TABS: Final = 250
HAS_FOCUS: Final = "one => one === document.activeElement"
SKIP: Final = "a.p-skip, a.q-skip"


@dataclass(frozen=True)
class Hands:
    """The keyboard of a page."""

    page: Any

    def open(self, address: str) -> None:
        """Type an address, and go past the navigation."""
        self.page.goto(address)
        self.press(self.page.locator(SKIP))

    def reach(self, what: Any) -> Any:
        """Press Tab until something has the focus."""
        what = what.first
        what.wait_for(state="attached")  # a way past the navigation is seen once it has the focus
        for _ in range(MOST_TABS):
            if what.evaluate(HAS_FOCUS):
                return what
            self.page.keyboard.press("Tab")
        raise AssertionError(f"no keyboard reaches {what} on {self.page.url}")

    def press(self, what: Any) -> None:
        """Press a link or a button."""
        self.reach(what)
        self.page.keyboard.press("Enter")

    def follow(self, what: Any) -> None:
        """Press a link, and wait for the page that it leads to."""
        with self.page.expect_navigation():
            self.press(what)

    def tick(self, what: Any) -> None:
        """Tick a box, or untick it."""
        self.reach(what)
        self.page.keyboard.press("Space")

    def type(self, what: Any, text: str) -> None:
        """Write into a field, in place of what it has."""
        self.reach(what)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def moment(self, what: Any, *, day: str, time: str) -> None:
        """Type a day (MMDDYYYY) and a time (hhmmAM) into the parts of a field for a moment, as an American browser has them."""
        self.reach(what)
        self.page.keyboard.type(day)
        self.page.keyboard.press("ArrowRight")  # a year may have six digits
        self.page.keyboard.type(time)

    def choose(self, what: Any, option: str) -> None:
        """Choose from a list by going down it."""
        what = self.reach(what)
        values = what.evaluate("one => [...one.options].map(option => option.value)")
        self.page.keyboard.press("Home")
        for _ in range(values.index(option)):
            self.page.keyboard.press("ArrowDown")
        assert what.input_value() == option

    def verb(self, name: str) -> None:
        """Open the dialog of a verb of an admin's page; in a narrow window the verbs are behind a button."""
        link = self.page.locator(f"a[hx-get*='/{name}']").first
        link.wait_for(state="attached")
        if not link.is_visible():
            self.press(self.page.get_by_role("link", name="more_horiz"))
        self.press(link)
        self.page.locator("#dialog").wait_for()

    def confirm(self) -> None:
        """Press what the open dialog is for."""
        self.press(self.page.locator("#dialog button[type=submit]"))
