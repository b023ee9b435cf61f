"""Pure: the mistakes of an inventory, a line each."""

from collections.abc import Iterable

from tasks.declared.written import text


class DeclarationError(Exception):
    """An inventory with mistakes: `mistakes` holds one line for each."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        heading = f"{count} mistake{'s' if count > 1 else ''} in the inventory; no host was touched"
        super().__init__("\n".join([f"{heading}:", *(f"    {line}" for line in self.mistakes)]))


class Mistakes:
    """What is collected while an inventory is read, instead of stopping at the first."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def say(self, line: str) -> None:
        """One in words of its own."""
        self._lines.append(line)

    def add(self, host: str, field: str, value: object, accepted: str) -> None:
        """One about the value of a field, and what is accepted there."""
        self.say(f"{host}: {field} = {short(repr(text(value)))}: {accepted}")

    def stop(self) -> None:
        """Raise DeclarationError where there are any."""
        if self._lines:
            raise DeclarationError(self._lines)


def short(text: str, limit: int = 60) -> str:
    """The text, cut off where it is longer than a line has room for."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
