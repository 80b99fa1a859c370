"""Which tasks are equal, so that one may take what another has left. Pure."""

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from domain import events as e
from domain.errors import CacheNeedsDigest
from domain.filling import Work
from domain.messages import Json
from domain.specs import Container
from domain.task_states import Facts, Queued

COUNTS = ("command", "env", "user", "workdir", "network", "result", "artifacts")
"""What counts of a container, beside the digest of its image."""
LIMITS = ("cpus", "memory", "pids")
"""What does not: a task that has succeeded had enough of them. Where something in it was killed for memory it had not,
and what it left is not kept."""
_FIXED = re.compile(r"(?:[^@]+@)?(sha256:[0-9a-f]{64})")
_KEPT = b'"cache":{"key":"'


@dataclass(frozen=True, slots=True)
class Reuse:
    """Take what the equal task `first` has left, if it is in the queue since its version `since`."""

    since: int
    first: e.CachedFrom
    left: e.TaskSucceeded


@dataclass(frozen=True, slots=True)
class Entry:
    """What `task` left when it ended may be taken under `key` before `until`."""

    key: bytes
    task: UUID
    ended: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """`task`, queued at `at`, takes what is kept under `key` if it is no older than `ttl`, or comes to be kept there
    while the task is in the queue."""

    task: UUID
    key: bytes
    ttl: timedelta
    at: datetime


@dataclass(frozen=True, slots=True)
class Hit:
    """A task that was queued by the event at `position`, and is to take what `first` left: it has left the queue."""

    task: UUID
    first: UUID
    position: int


def check_image(container: Container, field: str, task_id: str | None = None) -> None:
    """Raises CacheNeedsDigest for an image that may be another one tomorrow."""
    if _FIXED.fullmatch(container.image) is None:
        of = f" (task {task_id})" if task_id else ""
        raise CacheNeedsDigest(
            f"{field}: {container.image} may become another image, and with cache it must stay the same; name it by "
            f"its digest, as name@sha256:…, or by its id, as sha256:…; or leave cache out{of}"
        )


def key_of(executor: str, work: Work, version: str | None) -> str:
    """The same, in one namespace, for all tasks that are equal: SHA-256 of what they run as canonical JSON.

    What is absent is left out, so that fields to come change no key of today.
    """
    said: dict[str, Json] = {"executor": executor, "version": version, "input": work.input}
    if (container := work.container) is not None:
        fixed = _FIXED.fullmatch(container.image)
        said |= {name: getattr(container, name) or None for name in COUNTS}
        said["image"] = fixed[1] if fixed else container.image
    return _hash({name: value for name, value in said.items() if value is not None}).hex()


def entry_of(namespace: str, key: str) -> bytes:
    """Under which a result is kept and looked for: another in every namespace."""
    return _hash([namespace, key])


def looks(submitted: e.TaskSubmitted) -> bool:
    """Whether it may take a result: one that is run once more is asked for because the result is in doubt, alone or
    with its parent."""
    child = submitted.child_of
    return submitted.spec.cache is not None and submitted.retry_of is None and not (child and child.again)


def takes(look: Look, entry: Entry) -> bool:
    """Whether a result that was kept before the task was queued is young enough for either side."""
    return look.at < entry.until and look.at < entry.ended + look.ttl


def key_for(facts: Facts) -> str:
    """The key of a task whose templates, if it has any, are filled."""
    submitted, cache = facts.submitted, facts.submitted.spec.cache
    return key_of(submitted.spec.executor, facts.filled or submitted.work, cache.version if cache else None)


def kept(facts: Facts) -> e.Kept | None:
    """What the success of the run in hand leaves for others; what stands in for the task leaves nothing."""
    cache = facts.submitted.spec.cache
    return None if cache is None or facts.fallback else e.Kept(key=key_for(facts), ttl=cache.ttl)


def may_keep(body: bytes) -> bool:
    """Whether the success with this body may be kept; nearly all are told without reading them."""
    return _KEPT in body


def reused(task: Queued, reuse: Reuse) -> e.TaskSucceeded:
    """The end of a task that has taken what another left."""
    left = reuse.left
    return e.TaskSucceeded(
        task_id=task.task_id,
        runs=task.facts.run,
        exit_code=left.exit_code,
        result=left.result,
        artifacts=left.artifacts,
        cached_from=reuse.first,
    )


def _hash(value: Any) -> bytes:
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).digest()
