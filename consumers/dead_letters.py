"""A message that could not be judged, as it is kept for operators: secrets masked, size bounded."""

import re
from hashlib import sha256
from uuid import UUID

from domain.errors import Unreadable
from domain.ports.broker import Delivery
from domain.ports.handling import DeadLetter

KEPT_BYTES = 64 * 1024
KEPT_HEADERS, KEPT_HEADER, KEPT_DETAIL = 64, 256, 2048
_SECRETS = re.compile(
    rb"AKIA[0-9A-Z]{16}"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)"
    rb"|(?i:bearer|basic) +[A-Za-z0-9._~+/=-]{8,}"
    rb"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    rb"|(?<=://)[^/\s:@\"]{1,128}:[^/\s@\"]{1,256}(?=@)",
    re.DOTALL,
)


def dead_letter(id: UUID, queue: str, delivery: Delivery, unreadable: Unreadable) -> DeadLetter:
    """The row that is kept of `delivery`. The digest is that of the whole body as it came."""
    headers = list(delivery.headers.items())[:KEPT_HEADERS]
    return DeadLetter(
        id=id,
        queue=queue,
        reason=unreadable.reason,
        detail=_shown(unreadable.detail, KEPT_DETAIL),
        body=masked(delivery.body[:KEPT_BYTES]),
        digest=sha256(delivery.body).digest(),
        user=delivery.user and _shown(delivery.user),
        message_id=delivery.message_id and _shown(delivery.message_id),
        headers={_shown(name): _shown(value) for name, value in headers},
    )


def masked(body: bytes) -> bytes:
    """`body` with what looks like a key, a token or a password replaced."""
    return _SECRETS.sub(b"***", body)


def _shown(value: object, most: int = KEPT_HEADER) -> str:
    """Text that every store takes: a message may hold what PostgreSQL does not."""
    text = masked(str(value)[:most].encode(errors="replace")).decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in text)
