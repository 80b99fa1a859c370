"""A message that names itself, before its data is understood."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Letter:
    """A message whose id and type are known. `data`: UTF-8 JSON, one object, strictly well-formed unless over 1 MiB.

    `namespace` is what follows the first two words of the routing key ("" if nothing does): a namespace, or in reports
    a worker. `user` is the sender the broker checked, `on_behalf_of` the `ce-authid` to be believed only from trusted
    ones. `chain` is the correlation id of the whole chain, `reply_correlation` what a reply carries. `traceparent` is
    well-formed or None.
    """

    id: UUID
    type: str
    data: bytes
    namespace: str
    chain: str
    reply_correlation: str
    reply_to: str | None = None
    user: str | None = None
    on_behalf_of: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    redelivered: bool = False
    routing_key: str = ""
