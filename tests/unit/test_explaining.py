"""Why a task stands as it does: each reason there is, and what is said beside it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain import events as e
from domain.dispatching import Load
from domain.explaining import Known, explain
from domain.lanes import Share
from domain.limit import Quota
from domain.reasons import CODES, ENDED, WAITS, Hold, Holder
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn
from domain.spreading import told
from domain.task import Cancel, CloseLease, Gather, Pause
from domain.task_view import status_of
from domain.why_queued import SLOTS
from infra.explain_page import PAGE, page
from tests.support.ended_tasks import NOW, TASK
from tests.support.explained import (
    AGAIN,
    BUSY,
    CASES,
    DRAINING,
    HOLDERS,
    KEYED,
    LANE,
    LATER,
    OTHER,
    OWN,
    ROOT,
    SKIPPED,
    SPREAD,
    T0,
    T2,
    VOTE,
    W1,
    WORKFLOW,
    awaiting,
    fallen_back,
    history,
    known,
    needy,
    place,
    queued,
    recorded,
    running,
    stream,
    submitted,
    whole,
)
from tests.support.task_states import FAILED, GRANT, QUEUED, START


def codes(of: Known) -> list[str]:
    return [one.code for one in explain(of).causes]


def facts(of: Known, code: str) -> dict[str, Any]:
    [found] = [one for one in explain(of).causes if one.code == code]
    return dict(found.facts)


@pytest.mark.parametrize(
    ("ends", "said"), [({"succeeded": 9}, "all of its 9 children succeeded"), ({}, "there were no items")]
)
def test_of_a_task_that_became_children_no_run_is_told(ends: dict[str, int], said: str) -> None:
    (reason,) = explain(known(*SPREAD, commands=(Gather(ends),))).causes

    assert (reason.code, reason.detail) == ("succeeded", said)
    assert reason.facts == {"ends": told(ends)}


@pytest.mark.parametrize("how", ["failed", "quarantined", "expired", "cancelled"])
def test_those_children_are_to_be_seen_of_which_there_are_some(how: str) -> None:
    (reason,) = explain(known(*SPREAD, commands=(Gather({"succeeded": 8, how: 1}),))).causes

    out = f"tally ls parent=T1 status={how}"
    assert reason.detail == f"1 of 9 children did not succeed: 1 {how}; see them with: {out}"


def test_each_code_has_a_case_and_there_are_more_than_25() -> None:
    assert set(CASES) == set(CODES)
    assert len(CODES) >= 25


@pytest.mark.parametrize("code", CASES)
def test_each_reason_says_what_there_is_to_say(code: str) -> None:
    of, detail = CASES[code]

    explained = explain(of)

    assert next(one.detail for one in explained.causes if one.code == code).startswith(detail)
    assert (len(explained.causes) == 1) or code not in ENDED
    assert explained.since <= NOW


def test_an_explanation_is_json_with_the_facts_beside_each_code() -> None:
    of, _ = CASES["dependency"]

    assert explain(of).said() == {
        "task_id": "T1",
        "id": str(TASK),
        "status": "blocked",
        "since": "2026-11-21T03:12:38Z",
        "causes": [
            {
                "code": "dependency",
                "detail": "T0 (queued) must succeed",
                "task_id": "T0",
                "needs": "succeeded",
                "status": "queued",
            }
        ],
        "position": 2,
    }


def test_a_blocked_task_names_all_that_it_waits_for_and_the_pause_first() -> None:
    waits = known(
        *needy(T0, T2, VOTE, not_before=LATER),
        commands=(Pause("bob"),),
        ends={"T2": "failed", "A": "failed"},
        streams={stream("T0"): OTHER},
    )

    assert codes(waits) == ["pause", "dependency", "dependencies", "time"]
    assert facts(waits, "pause") == {"by": "bob"}
    assert facts(waits, "dependencies") == {"at_least": 2, "met": 0, "open": 2, "of": ["B", "C"]}


def test_how_a_task_must_end_is_said() -> None:
    [cause] = explain(known(*needy(DependsOn(task_id="T2", when="always")))).causes

    assert (cause.detail, dict(cause.facts)) == ("T2 must end", {"task_id": "T2", "needs": "always"})


def test_a_task_that_was_to_be_submitted_is_told_of_until_it_is_or_its_time_is_over() -> None:
    late, there = (DependsOn(task_id=name, forward=timedelta(hours=2)) for name in ("L", "T0"))
    voters = AtLeast(at_least=2, of=tuple(DependsOn(task_id=n, forward=timedelta(hours=2)) for n in ("A", "B")))
    here = {stream("T0"): OTHER}

    waits = known(*awaiting(late, there, voters), streams=here)
    assert codes(waits) == ["not-submitted", "dependency", "dependencies"]
    assert "open: A (not submitted), B (not submitted)" in explain(waits).causes[2].detail

    over = known(*awaiting(late, there), streams=here, now=LATER)
    assert codes(over) == ["to-be-expired", "dependency"]
    assert explain(over).causes[0].detail == "nobody has submitted L by 2026-11-21T04:12:40Z: it expires at once"


def test_how_a_task_stands_is_told_without_reading_what_it_needs() -> None:
    for known_, _ in CASES.values():
        assert status_of(known_.story.events) == known_.story.view.status
    first, blocked = needy(T0)
    unread = [replace(row, body=b"no JSON") for row in recorded(TASK, first, blocked)]
    assert (
        status_of([*unread, *recorded(TASK, first, blocked, e.TaskSkipped(task_id="T1", because="T0"))[2:]])
        == "skipped"
    )


def test_a_task_whose_dependencies_are_met_still_waits_for_its_time() -> None:
    assert codes(known(*needy(T0, not_before=LATER), ends={"T0": "succeeded"})) == ["to-be-queued", "time"]
    assert codes(known(*needy(T0, not_before=LATER), ends={"T0": "succeeded"}, now=LATER)) == ["to-be-queued"]


def test_a_queued_task_names_each_limit_that_is_reached_and_what_its_workers_lack() -> None:
    load = Load({KEYED: 1, LANE: 1}, {"namespace:default": Quota(1), "pool:default": Quota(5)})
    waits = queued(place(BUSY, own=replace(OWN, lane=KEYED), load=load, holders={SLOTS: [Holder(TASK, "h")]}))

    assert codes(waits) == ["limit", "limit", "no-slot"]
    assert [one.facts.get("scope") for one in explain(waits).causes] == ["namespace:default", "key:default/db", None]
    assert facts(waits, "no-slot") == {
        "pool": "default",
        "executor": "noop",
        "slots": 2,
        "held": 2,
        "holders": ["h"],
    }


def test_a_task_that_must_follow_another_to_a_draining_worker_waits_for_it() -> None:
    lane = replace(LANE, worker="W1")
    waits = queued(place(DRAINING, replace(W1, worker_id="W2"), own=replace(OWN, lane=lane)))

    [cause] = explain(waits).causes

    assert cause.detail == (
        "it must run on W1, which is draining; take it back into service with: tally worker start W1"
    )
    assert facts(waits, "worker-draining") == {"pool": "default", "executor": "noop", "workers": ["W1"]}


def test_draining_workers_are_named_where_all_other_slots_are_taken() -> None:
    waits = queued(place(BUSY, replace(DRAINING, worker_id="W9")))

    [cause] = explain(waits).causes

    assert (facts(waits, "no-slot")["slots"], facts(waits, "no-slot")["draining"]) == (2, ["W9"])
    assert cause.detail.startswith("the 2 slots of W1 are taken")
    assert cause.detail.endswith("start a worker (W9: draining)")


def test_a_limit_of_nothing_says_that_it_holds_all_back() -> None:
    held_back = queued(place(W1, load=Load({}, {"namespace:default": Quota(0)})))

    [cause] = explain(held_back).causes

    assert cause.detail == (
        "namespace:default max_running=0 holds all back; let them run with: "
        "tally limit set namespace:default --max-running 1"
    )


@pytest.mark.parametrize(
    ("scope", "whose"),
    [(f"workflow:{WORKFLOW}", "its workflow"), (f"children:{TASK}", "the task whose child it is")],
)
def test_max_parallel_is_told_by_the_name_that_its_user_gave_it(scope: str, whose: str) -> None:
    lane = replace(LANE, shares=(Share(scope, 1),))
    held = place(W1, own=replace(OWN, lane=lane), load=Load({lane: 1}), holders={scope: HOLDERS[:1]})

    [cause] = explain(queued(held)).causes

    assert cause.code == "limit"
    assert cause.detail == f"max_parallel=1 of {whose} (1 used by h1); one of them must end"


def test_a_success_of_the_fallback_is_not_told_as_if_the_task_itself_had_succeeded() -> None:
    [cause] = explain(fallen_back(0)).causes

    assert (cause.code, cause.detail) == ("succeeded", "run 2 succeeded in place of those that failed, as the fallback")


def test_parts_of_the_platform_are_not_told_as_if_they_were_people() -> None:
    held = running(Hold(accepted=True, left=9.0, heard=True), Cancel("saga", "T0 failed"))

    [cause] = explain(held).causes

    assert cause.detail == "cancelled by the platform: T0 failed; run 1 on W1 is being stopped"
    assert cause.facts["by"] == "saga"


def test_only_runs_that_were_lost_are_counted_for_a_quarantine() -> None:
    first = history(submitted(retry=Retry(max_losses=0)), QUEUED, commands=(GRANT, START, FAILED))
    again = QUEUED.model_copy(update={"after": "retry"})
    events = [one.event() for one in first]
    lost = known(*events, again, commands=(AGAIN, CloseLease(2, accepted=True)))  # type: ignore[arg-type]

    [cause] = explain(lost).causes

    assert cause.detail.startswith("one run was lost: lost; ")


def test_a_key_is_set_by_its_name_alone_and_a_workflow_is_not_set() -> None:
    key = queued(place(W1, own=replace(OWN, lane=KEYED), load=Load({KEYED: 1})))
    [cause] = explain(key).causes

    assert "tally limit set key:db --max-running 2" in cause.detail


def test_holders_that_the_reader_may_not_see_are_counted_and_not_named() -> None:
    [cause] = explain(queued(place(BUSY))).causes

    assert "taken by 2 that you may not see" in cause.detail


def test_a_worker_that_is_not_heard_is_told_of_beside_what_its_run_does() -> None:
    silent = Hold(accepted=True, left=4.0, heard=False)

    assert codes(running(silent)) == ["running", "worker-not-heard"]
    assert codes(running(silent, Cancel("alice"))) == ["cancelling", "worker-not-heard"]
    assert codes(known(submitted(), QUEUED, commands=(GRANT,), hold=replace(silent, accepted=False))) == ["offered"]


def test_an_offer_that_nobody_took_is_queued_again() -> None:
    again = known(submitted(), QUEUED, commands=(GRANT, CloseLease(1, accepted=False)), place=place(W1, waiting=[OWN]))

    assert codes(again) == ["due"]


def test_a_run_whose_lease_is_not_known_here_runs_all_the_same() -> None:
    assert codes(running(None)) == ["running"]


def test_a_skipped_task_tells_of_the_first_that_did_not_succeed() -> None:
    of, _ = CASES["skipped"]

    assert facts(of, "skipped") == {
        "because": "T0",
        "chain": ["T0 skipped", "R failed (exit-nonzero)"],
        "root": "R",
        "root_status": "failed",
    }
    unknown = replace(of, streams={stream("T0"): SKIPPED})
    assert facts(unknown, "skipped") == {"because": "T0", "chain": ["T0 skipped"]}
    assert stream("R") == ROOT[0].stream


def test_a_task_cancelled_by_itself_in_a_cancelled_workflow_is_cancelled_by_that_user() -> None:
    own = known(
        submitted(workflow=True), QUEUED, commands=(Cancel("bob", "mine"),), streams=whole(by="saga", because="T0")
    )

    assert codes(own) == ["cancelled"]
    assert facts(own, "cancelled") == {"by": "bob", "runs": 0, "verified": True, "reason": "mine"}


def test_a_cancellation_from_after_the_end_explains_nothing() -> None:
    late = {own: [replace(one, position=99) for one in rows] for own, rows in whole(by="alice").items()}

    assert codes(known(submitted(workflow=True), QUEUED, commands=(Cancel("alice"),), streams=late)) == ["cancelled"]


def test_it_is_told_when_a_run_could_not_be_asked() -> None:
    unheard = running(None, Cancel("alice"), CloseLease(1, accepted=True))
    [cause] = explain(unheard).causes

    assert cause.detail == "cancelled by alice; its run could not be asked, and may run on"


def test_since_is_when_the_task_came_to_stand_so() -> None:
    moved = known(
        submitted(), QUEUED, e.TaskPriorityChanged(task_id="T1", priority=9, was=5), place=place(W1, waiting=[OWN])
    )

    assert explain(moved).since == NOW - timedelta(seconds=2)


def test_the_kinds_of_a_blocked_event_are_codes() -> None:
    kinds = {one.model_fields["kind"].default for one in (e.Blocker, e.BlockerSet, e.BlockerTime, e.BlockerPause)}

    assert kinds <= set(WAITS)


def test_the_reference_page_is_that_of_the_codes() -> None:
    assert PAGE.read_text() == page(), "run: python -m infra.explain_page"


def test_whose_result_a_task_has_is_said_with_when_that_one_ended() -> None:
    assert facts(CASES["cached"][0], "cached") == {
        "runs": 0,
        "exit_code": 0,
        "task_id": "T0",
        "id": str(stream("T0")),
        "ended_at": "2026-11-21T03:12:40Z",
    }
