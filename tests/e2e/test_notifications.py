"""A task that names a channel, and a notifier that is killed between sending and recording."""

import asyncio
from collections.abc import Callable

import pytest
from standardwebhooks import Webhook

from tests.support.platform import MakePlatform
from tests.support.receiver import receiving
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

SECRET = "whsec_" + "c2VjcmV0" * 4
PROCESSES = ("handler", "conductor", "messenger", "notifier", "worker")
LEDGER = "SELECT channel, status, tries FROM notifications"


async def test_a_notifier_killed_after_sending_sends_the_same_id_again(make_platform: MakePlatform) -> None:
    async with receiving("hang", 204) as receiver:
        loop = asyncio.get_running_loop()

        def requests(count: int) -> None:
            asyncio.run_coroutine_threadsafe(receiver.wait_for(count, 60), loop).result()

        await asyncio.to_thread(_told_twice, make_platform, receiver.port, requests)

    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert Webhook(SECRET).verify(second.body, second.headers)["type"] == "task.succeeded.v1"


def _told_twice(make_platform: MakePlatform, port: int, wait_for_requests: Callable[[int], None]) -> None:
    settings = {"TALLY_NOTIFY__OPS__URL": f"webhook+http://127.0.0.1:{port}/hook", "TALLY_NOTIFY__OPS__SECRET": SECRET}
    with make_platform(PROCESSES, **settings) as platform:
        platform.publish("task.submit.v1", {"task_id": "told", "executor": "noop", "notify": ["ops"]})
        wait_for_requests(1)
        platform.system.kill("notifier")
        assert platform.rows(LEDGER) == [("ops", "due", 0)]
        platform.system.start("notifier")
        wait_for_requests(2)
        until(lambda: platform.rows(LEDGER) == [("ops", "sent", 1)], "the notification is recorded")
        assert platform.rows("SELECT topic FROM events WHERE topic LIKE 'notification.%%'") == [
            ("notification.sent.v1",)
        ]
