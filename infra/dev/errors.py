"""What can go wrong while a machine is made ready.

DevError                  shown as one line, exit code 1
├── CannotProvide         a server or tool can't be had here; says what to install
└── StartFailed           a server was started and did not become ready; carries the tail of its log
    └── EndedEarly        it ended by itself; on other ports it may start
"""

from pathlib import Path


class DevError(Exception):
    """The development stack can't be made; the message is meant for a person."""


class CannotProvide(DevError):
    """Something is neither here nor to be had from here."""

    def __init__(self, what: str, why: str, way_out: str) -> None:
        super().__init__(f"{what}: {why}. {way_out}")
        self.what, self.why, self.way_out = what, why, way_out


class StartFailed(DevError):
    """A server ended, or did not answer in time, before it was ready."""

    def __init__(self, what: str, why: str, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"
        super().__init__(f"{what} did not start: {why}; last lines of {log}:\n{tail}")
        self.what, self.why, self.log = what, why, log


class EndedEarly(StartFailed):
    """A server ended by itself before it was ready."""
