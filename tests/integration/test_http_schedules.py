"""Schedules over HTTP."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from domain import events as e
from domain.recorded import new_events
from tests.support.histories import CAUSE
from tests.support.http_api import Running
from tests.support.schedules import S1, scheduled

pytestmark = pytest.mark.integration
RESUMED = new_events(S1, 2, "analytics", [e.ScheduleResumed(schedule_id="S1", by="alice")], CAUSE)


async def test_schedules_are_listed_and_found_within_what_the_token_reaches(api: Running) -> None:
    there = await api.append(*scheduled())
    listed = await api.get(f"/v1/schedules?after_position={there}")
    one = await api.get("/v1/schedules/S1?namespace=analytics")

    assert [row["schedule_id"] for row in json.loads(listed.text)] == ["S1"]
    assert (json.loads(one.text)["status"], one.headers["etag"]) == ("paused", '"v2"')
    assert (await api.get(f"/v1/schedules/{S1}", headers={"If-None-Match": '"v2"'})).status_code == 304
    assert (await api.get("/v1/schedules", "schedules:read ns:other")).text == "[]"
    assert (await api.get(f"/v1/schedules/{S1}", "schedules:read ns:other")).status_code == 404
    assert (await api.get("/v1/schedules", "tasks:read ns:*")).status_code == 403


async def test_the_next_fires_are_those_of_the_rule_and_the_last_tell_what_became_of_them(api: Running) -> None:
    there = await api.append(*scheduled())
    await api.get(f"/v1/schedules?after_position={there}")
    paused = json.loads((await api.get(f"/v1/schedules/{S1}/fires?next=3")).text)
    assert (paused["next"], [one["status"] for one in paused["last"]]) == ([], ["skipped", "fired"])

    there = await api.append(*RESUMED)
    await api.get(f"/v1/schedules?after_position={there}")
    active = json.loads((await api.get(f"/v1/schedules/{S1}/fires?next=3&last=0")).text)

    coming = [datetime.fromisoformat(one) for one in active["next"]]
    now = datetime.now(UTC)
    assert (len(coming), active["last"]) == (3, [])
    assert now < coming[0] <= now + timedelta(hours=1)
    assert {one.minute for one in coming} == {0}
    assert (await api.get(f"/v1/schedules/{S1}/fires?next=101")).status_code == 400
