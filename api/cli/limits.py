"""`tally limit`: how many tasks may run at once, and how many may start in a span."""

from dataclasses import dataclass

from api.cli.exits import USAGE, Exit, say, well_formed
from api.cli.output import COMMON, Column, Common, View, field, moment, rows
from api.cli.parameters import Connect

LIMITS = (
    Column("SCOPE", field("scope")),
    Column("RUNNING", lambda row, wide: "any" if row["max_running"] is None else str(row["max_running"])),
    Column("RATE", lambda row, wide: _rate(row)),
    Column("BY", field("by")),
    Column("SINCE", moment("updated_at")),
)


@dataclass(frozen=True, slots=True)
class LimitCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def set_limit(
        self, scope: str, /, *, max_running: int | None = None, rate: str | None = None, common: Common = COMMON
    ) -> int:
        """Set what a scope allows from now on; what is left out is not limited.

        Parameters
        ----------
        scope
            namespace:NAME, pool:NAME, or key:KEY of the namespace.
        max_running
            So many tasks may run at once; 0 holds all back.
        rate
            So many may start in a span, as 100/PT1M.
        """
        from domain.operating import SetLimit

        asked: View = {"scope": scope, "max_running": max_running, "rate": _parts(rate)}
        async with self.connect(common.namespace) as client:
            if not scope.startswith("namespace:"):
                asked["namespace"] = client.namespace
            with well_formed("not a limit.set.v1"):
                command = SetLimit.model_validate(asked, strict=False)
            await client.send(command, reply=True)
        say(f"{scope} is {'no longer limited' if max_running is None and rate is None else 'set'}")
        return 0

    async def limits(self, *, common: Common = COMMON) -> int:
        """List the limits that were set."""
        async with self.connect(common.namespace) as client:
            rows(await client.reading.limits(), LIMITS, common, name="scope")
        return 0


def _parts(rate: str | None) -> View | None:
    if rate is None:
        return None
    starts, slash, per = rate.partition("/")
    if not slash:
        raise Exit(USAGE, f"--rate {rate}: give a number and a span, as 100/PT1M")
    return {"starts": starts, "per": per}


def _rate(row: View) -> str:
    return "any" if row["starts"] is None else f"{row['starts']}/{row['per']}"
