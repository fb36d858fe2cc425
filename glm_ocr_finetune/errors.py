"""The one exception that is shown to users as a single line, without a traceback; and how others are quoted."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave cannot work.

    The message says what was found, what was expected, and which flag or command mends it.
    The command line prints it on standard error as ``error: ...`` and exits with code 2. What it quotes may be
    anybody's: characters that cannot be printed are shown as escapes, so that it is one line wherever it is read.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with line ends, control characters and lone surrogates as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of what another library says, or the name of its exception."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
