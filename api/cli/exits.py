"""What the exit codes mean, and one line for each thing that can go wrong.

0 done · 1 error · 2 usage · 3 not found · 4 not allowed · 5 refused · 6 not reached · 124 waited too long · 125 the
platform could not run it · 130 interrupted; with `--wait`, the container's own.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

    from domain.work import Problem

FAILED, NOT_FOUND, NOT_ALLOWED, REFUSED, NOT_REACHED = 1, 3, 4, 5, 6
TOO_LONG, NOT_RUN, INTERRUPTED = 124, 125, 130
CODES: Mapping[str, int] = {
    "not-found": NOT_FOUND,
    "unknown-dependency": REFUSED,
    "not-allowed": NOT_ALLOWED,
    "invalid-token": NOT_ALLOWED,
    "no-token": NOT_ALLOWED,
    "insufficient-scope": NOT_ALLOWED,
    "namespace-mismatch": REFUSED,
}


class Exit(Exception):
    """Ends the command with `code`; the message, if any, is for stderr."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: BaseException) -> int:
    """The exit code that `error` stands for."""
    from domain.errors import Refused, Unavailable

    if isinstance(error, Exit):
        return error.code
    if isinstance(error, Refused):
        return CODES.get(error.problem.code, REFUSED)
    if isinstance(error, Unavailable):
        return NOT_REACHED
    if isinstance(error, TimeoutError):
        return TOO_LONG
    return FAILED


def say(message: str) -> None:
    """A line for people."""
    sys.stderr.write(message + "\n")


def explain(error: BaseException) -> None:
    """Say what went wrong and the way out."""
    from domain.errors import Refused

    if isinstance(error, Refused):
        say(f"tally: {told(error.problem)}")
    elif isinstance(error, TimeoutError):
        say("tally: waited too long; the task goes on, see: tally status ID")
    elif str(error):
        say(f"tally: {error}")


def told(problem: "Problem") -> str:
    """A problem in a line or more: its code, what is wrong, and each field that is."""
    fields = [f"\n  {one.get('field', '')}: {one.get('problem', one)}" for one in problem.errors]
    return f"{problem.code}: {problem.detail}{''.join(fields)}"


def fields(invalid: "ValidationError") -> str:
    """Each field that does not fit, on a line of its own."""
    errors = invalid.errors(include_url=False, include_input=False)
    return "".join(f"\n  {'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}" for error in errors[:20])
