"""What the exit codes mean, and one line for each thing that can go wrong.

0 done · 1 error · 2 usage · 3 not found · 4 not allowed · 5 refused · 6 not reached · 124 waited too long · 125 the
platform could not run it · 130 interrupted; with `--wait`, the container's own.
"""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from api.cli.plain import plain_lines

if TYPE_CHECKING:
    from pydantic import ValidationError

    from domain.work import Problem

FAILED, USAGE, NOT_FOUND, NOT_ALLOWED, REFUSED, NOT_REACHED = 1, 2, 3, 4, 5, 6
TOO_LONG, NOT_RUN, INTERRUPTED = 124, 125, 130
CODES: Mapping[str, int] = {
    "defect": FAILED,
    "unexpected": FAILED,
    "bad-query": USAGE,
    "ambiguous-id": USAGE,
    "not-found": NOT_FOUND,
    "not-allowed": NOT_ALLOWED,
    "invalid-token": NOT_ALLOWED,
    "no-token": NOT_ALLOWED,
    "insufficient-scope": NOT_ALLOWED,
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
    try:
        sys.stderr.write(plain_lines(message) + "\n")
    except BrokenPipeError:
        leave_unwritten()


def leave_unwritten() -> None:
    """What stdout and stderr still hold goes nowhere: else Python says at its end that it could not be written."""
    with Path(os.devnull).open("wb") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                with suppress(OSError):
                    os.dup2(nowhere.fileno(), stream.fileno())


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
    """A problem in a line or more: its code, what is wrong, and each field that is, if not said already."""
    new = [one for one in problem.errors if str(one.get("problem", one)) not in problem.detail]
    fields = [f"\n  {one.get('field', '')}: {one.get('problem', one)}" for one in new]
    return f"{problem.code}: {problem.detail}{''.join(fields)}"


@contextmanager
def of_several(ref: str) -> Generator[None]:
    """A refusal names the one of several things that it is about. Raises Exit."""
    from domain.errors import Refused

    try:
        yield
    except Refused as refused:
        raise Exit(exit_code(refused), f"{ref}: {told(refused.problem)}") from None


@contextmanager
def well_formed(what: str) -> Generator[None]:
    """What fits no message ends the command, each field named. Raises Exit."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as invalid:
        raise Exit(REFUSED, f"{what}:{fields(invalid)}") from None


def fields(invalid: "ValidationError") -> str:
    """Each field that does not fit, on a line of its own."""
    from domain.misfits import misfits

    _, found = misfits(invalid)
    return "".join(f"\n  {one['field']}: {one['problem']}" for one in found)
