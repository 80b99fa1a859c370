"""How a client shows who it is."""

from typing import Protocol


class Bearer(Protocol):
    """A bearer token, renewed when it is about to run out."""

    async def token(self, renewed: bool = False) -> str | None:
        """The token to send; None: none is known. `renewed`: the last one was refused, get a new one.

        Raises Refused when the issuer refuses, Unavailable when it is not reached.
        """
        ...
