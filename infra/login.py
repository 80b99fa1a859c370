"""What `tally login` keeps: one client of one issuer, and the platform it is for, in `$XDG_CONFIG_HOME/tally/`."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from adapters.credentials import write_private


@dataclass(frozen=True, slots=True)
class Login:
    """A client that may ask for tokens."""

    api_url: str
    issuer_url: str
    client_id: str
    client_secret: str
    amqp_url: str | None = None


def folder() -> Path:
    """Where credentials live; not made by asking."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "tally"


def saved() -> Login | None:
    """Who is logged in."""
    try:
        return Login(**json.loads((folder() / "credentials.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def save(login: Login) -> None:
    """Log in."""
    write_private(folder() / "credentials.json", asdict(login))


def forget() -> bool:
    """Log out; False if nobody was logged in."""
    there = (folder() / "credentials.json").exists()
    for name in ("credentials.json", "token.json"):
        (folder() / name).unlink(missing_ok=True)
    return there
