"""Which task is cancelled where one that is queued finds all places of its key taken. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from domain.lanes import Lane, Share
from domain.limit import Quota
from domain.task import Cancel


@dataclass(frozen=True, slots=True)
class Member:
    """A task that takes a place of its lane's crowd: it is queued, or `held` by a worker. Ids grow with time."""

    task: UUID
    lane: Lane
    held: bool

    @property
    def share(self) -> Share:
        """The limit that makes the crowd."""
        return next(share for share in self.lane.shares if share.when_full != "queue")


def crowded_out(members: Iterable[Member], quotas: Mapping[str, Quota]) -> dict[UUID, Cancel]:
    """The tasks to cancel. Those that are being cancelled already are among them until they have ended."""
    kept: dict[str, list[Member]] = {}
    out: dict[UUID, Cancel] = {}
    for member in sorted(members, key=lambda one: one.task):
        share = member.share
        places, most = kept.setdefault(share.scope, []), _most(share, quotas)
        if share.when_full == "cancel-newest" and len(places) >= most > 0 and not member.held:
            out[member.task] = _cancel(share, most, "older tasks keep their places")
            continue
        while share.when_full == "cancel-oldest" and len(places) >= most > 0:
            out[places.pop(0).task] = _cancel(share, most, "a newer task takes the place")
        places.append(member)
    return out


def _most(share: Share, quotas: Mapping[str, Quota]) -> int:
    quota = quotas.get(share.scope)
    return share.limit if quota is None or quota.max_running is None else quota.max_running


def _cancel(share: Share, most: int, why: str) -> Cancel:
    return Cancel("dispatcher", reason=f"{share.scope} is limited to {most}: {why}")
