"""What strangers may send, and what is said of the rest."""

from dataclasses import replace
from typing import Any

import pytest

from consumers.reading import decode, read
from consumers.strict_json import strict_object
from domain.commands import COMMANDS, SubmitTask, SubmitTasks, SubmitWorkflow
from domain.errors import Rejected, TooLarge, UnknownField, Unreadable
from domain.letters import Letter
from domain.ports.broker import Delivery
from domain.reports import REPORTS
from domain.submitting import check
from tests.support.corpus import Case, cases

ID = "019abcde-0000-7000-8000-000000000001"
OTHER_ID = "019abcde-0000-7000-8000-000000000002"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = b'{"task_id":"hello","executor":"noop"}'


def delivered(body: bytes = BODY, headers: dict[str, object] | None = None, **properties: Any) -> Delivery:
    known: dict[str, Any] = {
        "content_type": "application/json",
        "message_id": ID,
        "type": "task.submit.v1",
        **properties,
    }
    return Delivery(
        tag=1,
        queue="task.commands.handler",
        exchange="task.commands",
        routing_key="task.submit.analytics",
        body=body,
        headers=headers or {},
        **known,
    )


def reaction(delivery: Delivery) -> dict[str, str]:
    registry = COMMANDS if delivery.exchange == "task.commands" else REPORTS
    try:
        message = decode(read(delivery), registry)
        if isinstance(message, SubmitTask | SubmitTasks | SubmitWorkflow):
            check(message)
    except Unreadable as unreadable:
        return {"q": unreadable.reason}
    except Rejected as rejected:
        return {"j": rejected.code}
    return {}


READ = [case for case in cases() if case.expected != {"j": "bad-schedule"}]
"""Those that nobody need decide on to refuse them."""


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_each_bad_input_gets_its_one_reaction(case: Case) -> None:
    assert reaction(case.delivery()) == case.expected


def test_the_largest_integer_of_64_bits_is_read_where_one_more_is_refused() -> None:
    (refused,) = [case.delivery() for case in cases() if case.name.startswith("a51-")]
    largest = replace(refused, body=refused.body.replace(b"9223372036854775808", b"9223372036854775807"))

    assert (reaction(refused), reaction(largest)) == ({"j": "schema"}, {})


def test_every_case_of_the_contract_is_in_the_corpus() -> None:
    numbers = {int(case.name.split("-")[0][1:]) for case in cases()}

    assert numbers == {*range(23, 69), *range(87, 92), 95, 101}


@pytest.mark.parametrize(
    ("headers", "properties"),
    [
        ({}, {}),
        ({"ce-id": ID, "ce-type": "task.submit.v1"}, {"message_id": None, "type": None}),
        ({"cloudEvents_id": ID, "cloudEvents_type": "task.submit.v1"}, {"message_id": None, "type": None}),
        ({"cloudEvents:id": ID, "cloudEvents:type": "task.submit.v1"}, {"message_id": None, "type": None}),
        ({"ce-id": ID}, {"message_id": ID.replace("-", "")}),
    ],
)
def test_id_and_type_are_taken_from_property_or_header(headers: dict[str, object], properties: dict[str, Any]) -> None:
    letter = read(delivered(headers=headers, **properties))

    assert (str(letter.id), letter.type, letter.namespace) == (ID, "task.submit.v1", "analytics")


def test_a_structured_envelope_gives_id_type_trace_and_data() -> None:
    envelope = (
        b'{"specversion":"1.0","id":"%s","type":"task.submit.v1","source":"/clients/x","correlationid":"night",'
        b'"traceparent":"%s","data":{"task_id":"hello","executor":"noop"}}' % (ID.encode(), TRACE.encode())
    )
    letter = read(
        delivered(envelope, content_type="application/cloudevents+json; charset=utf-8", message_id=None, type=None)
    )

    assert letter == Letter(
        id=letter.id,
        type="task.submit.v1",
        data=BODY,
        namespace="analytics",
        chain="night",
        reply_correlation=ID,
        traceparent=TRACE,
        routing_key=delivered().routing_key,
    )
    assert decode(letter, COMMANDS) == SubmitTask(task_id="hello", executor="noop")


def test_property_and_header_must_agree() -> None:
    assert reaction(delivered(headers={"ce-id": OTHER_ID})) == {"q": "id-mismatch"}
    assert reaction(delivered(headers={"ce-type": "task.cancel.v1"})) == {"q": "type-mismatch"}


def test_a_reply_carries_the_commands_own_correlation_id() -> None:
    letter = read(delivered(correlation_id="call-7", headers={"ce-correlationid": "night"}))

    assert (letter.reply_correlation, letter.chain) == ("call-7", "night")


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        TRACE.upper(),
        TRACE.replace("00-", "ff-"),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        TRACE + "\n",
        7,
    ],
)
def test_a_malformed_trace_context_is_ignored(traceparent: object) -> None:
    letter = read(delivered(headers={"traceparent": traceparent, "tracestate": "a=1", "baggage": "x" * 10_240}))

    assert (letter.traceparent, letter.tracestate) == (None, None)


def test_trace_flag_03_and_tracestate_are_carried() -> None:
    letter = read(delivered(headers={"traceparent": TRACE[:-1] + "3", "tracestate": "vendor=1"}))

    assert (letter.traceparent, letter.tracestate) == (TRACE[:-1] + "3", "vendor=1")


@pytest.mark.parametrize("name", ["correlation_id", "reply_to", "type"])
def test_control_characters_in_properties_are_unreadable(name: str) -> None:
    properties: dict[str, Any] = {name: "a\0b"}

    assert reaction(delivered(**properties)) == {"q": "bad-char"}


def test_headers_that_could_not_be_decoded_are_unreadable() -> None:
    assert reaction(delivered(headers={"": b"\xff"})) == {"q": "headers"}


def test_forged_death_records_are_ignored() -> None:
    death: list[object] = [{"queue": "q", "reason": "expired", "count": 3, "routing-keys": ["a"]}]

    assert reaction(delivered(headers={"x-death": death, "x-delivery-count": 99})) == {}


def test_a_single_submission_ends_at_64_kib_and_a_bulk_one_at_1_mib() -> None:
    task = b'{"executor":"noop"}'
    single = task + b" " * (65_536 - len(task))

    assert reaction(delivered(single)) == {}
    assert reaction(delivered(single + b" ")) == {"j": "too-large"}
    bulk = b'{"tasks":[' + task + b"]}"
    whole = bulk + b" " * ((1 << 20) - len(bulk))
    assert reaction(delivered(whole, type="task.submit-tasks.v1")) == {}
    assert reaction(delivered(whole + b" ", type="task.submit-tasks.v1")) == {"j": "too-large"}


def test_a_body_over_1_mib_is_refused_without_a_look_inside() -> None:
    letter = read(delivered(b"\xff" * ((1 << 20) + 1)))

    with pytest.raises(TooLarge, match="takes 65536; pass large data by reference"):
        decode(letter, COMMANDS)


@pytest.mark.parametrize(
    ("need", "field"),
    [
        (b'{"task":"T0"}', "depends_on[0].task"),
        (b'{"task_id":"T0","when":"soon"}', "depends_on[0].when"),
        (b'{"at_least":1,"of":[{"task_id":"T0","when":7}]}', "depends_on[0].of[0].when"),
        (b'{"at_least":2,"of":[{"task_id":"T0"}]}', "depends_on[0]"),
        (b"7", "depends_on[0]"),
    ],
)
def test_a_need_that_fits_neither_form_is_named_where_it_stands(need: bytes, field: str) -> None:
    body = b'{"executor":"noop","depends_on":[' + need + b"]}"

    with pytest.raises(Rejected) as caught:
        decode(read(delivered(body, type="task.submit.v1")), COMMANDS)

    assert caught.value.detail.partition(": ")[0] == field


def test_a_refusal_names_each_field_and_the_way_out() -> None:
    body = b'{"tasks":[{"executor":"noop"},{"executor":"noop","privileged":true,"pid":"host"}]}'

    with pytest.raises(UnknownField) as caught:
        decode(read(delivered(body, type="task.submit-tasks.v1")), COMMANDS)

    assert caught.value.detail == "tasks[1].privileged: task.submit-tasks.v1 has no such field; remove it"
    assert caught.value.errors == (
        {"field": "tasks[1].privileged", "problem": "no such field"},
        {"field": "tasks[1].pid", "problem": "no such field"},
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"executor":"noop","labels":{"app.v1":5}}', "labels.app.v1"),
        (b'{"executor":"noop","<foo>":1}', "<foo>"),
    ],
)
def test_a_field_is_named_as_it_was_written(body: bytes, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(read(delivered(body, type="task.submit.v1")), COMMANDS)

    assert caught.value.errors[0]["field"] == field


@pytest.mark.parametrize("depth", range(1, 17))
def test_16_levels_are_read(depth: int) -> None:
    assert strict_object(b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize(
    "body",
    [b'{"a":18446744073709551615}', b'{"a":-1.5e300}', '{"ä":"\U0001f6a2"}'.encode(), b'{"a":"\\ud83d\\udea2"}'],
)
def test_odd_but_sound_values_are_read(body: bytes) -> None:
    assert strict_object(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":18446744073709551616}', "bad-number"),
        (b'{"\\u0000":1}', "bad-char"),
        (b'{"\\udc00":1}', "bad-char"),
        (b'{"a":"NaN","b":}', "bad-json"),
        (b'{"a":"[[[[[[[[[[[[[[[[[[[[","b":}', "bad-json"),
        (b'{"a":"\\' + b'"\\' * 100_000, "bad-json"),
    ],
)
def test_numbers_characters_and_brackets_are_judged_where_they_stand(body: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        strict_object(body)

    assert caught.value.reason == reason
