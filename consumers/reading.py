"""From a delivery to a letter, and from a letter to a message: everything a stranger can get wrong is said here.

What makes a letter Unreadable (headers, content type, encoding, JSON, envelope) can be told to nobody; what makes it
Rejected (size, type, fields) is told to the sender.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from consumers.envelopes import (
    agreed,
    attributes_of,
    check_headers,
    is_structured,
    open_envelope,
    optional,
    trace_of,
    type_of,
    uuid_of,
)
from consumers.strict_json import strict_object
from domain.errors import (
    Rejected,
    SchemaMismatch,
    TooLarge,
    UnknownField,
    UnknownType,
    UnknownVersion,
    Unreadable,
)
from domain.letters import Letter
from domain.messages import Message
from domain.misfits import misfits
from domain.ports.broker import Delivery

SMALL, LARGE = 64 << 10, 1 << 20
LARGE_TYPES = frozenset({"task.submit-workflow.v1", "task.submit-tasks.v1", "reports.v1", "worker.heartbeat.v1"})

M = TypeVar("M", bound=Message)


def read(delivery: Delivery) -> Letter:
    """The letter in `delivery`. A body over 1 MiB is not looked into: `decode` refuses it. Raises Unreadable."""
    check_headers(delivery.headers)
    structured = is_structured(delivery)
    attributes, data = attributes_of(delivery.headers), delivery.body
    if len(data) <= LARGE:
        if structured:
            data = open_envelope(data, attributes)
        else:
            strict_object(data)
    elif structured:
        raise Unreadable("too-large", f"an envelope of {len(data)} bytes; at most {LARGE}")
    message_id = agreed("id", [delivery.message_id, *attributes.get("id", ())], uuid_of)
    correlation = optional("correlation_id", [delivery.correlation_id])
    chain = optional("ce-correlationid", attributes.get("correlationid", ()))
    traceparent, tracestate = trace_of(delivery.headers, attributes)
    return Letter(
        id=message_id,
        type=agreed("type", [delivery.type, *attributes.get("type", ())], type_of),
        data=data,
        namespace="".join(delivery.routing_key.split(".", 2)[2:]),
        chain=chain or correlation or str(message_id),
        reply_correlation=correlation or str(message_id),
        reply_to=optional("reply_to", [delivery.reply_to]),
        user=delivery.user,
        on_behalf_of=optional("ce-authid", attributes.get("authid", ())),
        traceparent=traceparent,
        tracestate=tracestate,
        redelivered=delivery.redelivered,
        routing_key=delivery.routing_key,
    )


def decode(letter: Letter, registry: Mapping[str, type[M]]) -> M:
    """The message in `letter`, one of `registry`.

    Raises TooLarge, UnknownType, UnknownVersion, UnknownField, SchemaMismatch; the last two name each field.
    """
    limit = LARGE if letter.type in LARGE_TYPES else SMALL
    if len(letter.data) > limit:
        raise TooLarge(f"body: {len(letter.data)} bytes; {letter.type} takes {limit}; pass large data by reference")
    cls = registry.get(letter.type)
    if cls is None:
        raise _unknown(letter.type, registry)
    try:
        return cls.model_validate_json(letter.data, strict=True)
    except ValidationError as error:
        raise _mismatch(letter.type, error) from None


def _unknown(given: str, registry: Mapping[str, Any]) -> Rejected:
    name = given.rpartition(".v")[0]
    if same := [known for known in registry if known.rpartition(".v")[0] == name]:
        return UnknownVersion(f"type: {given:.80} is not known here; send {' or '.join(same)}")
    return UnknownType(f"type: {given:.80} is not known here; send one of {', '.join(sorted(registry))}")


def _mismatch(type_: str, error: ValidationError) -> Rejected:
    strange, errors = misfits(error)
    first = errors[0]
    if strange:
        return UnknownField(f"{first['field']}: {type_} has no such field; remove it", errors)
    return SchemaMismatch(f"{first['field']}: {first['problem']}; see /v1/schemas/{type_}", errors)
