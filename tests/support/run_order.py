"""What every task's history says of its runs and leases."""

from collections.abc import Iterable

from domain import events as e


def check_runs(history: Iterable[e.Event]) -> None:
    """Fences count the leases; a new lease comes only after the last one was closed, and never after a cancellation;
    a run counts up only when the last one was lost, or failed and is to be followed by another."""
    fence = run = 0
    held = over = cancelled = False
    for event in history:
        match event:
            case e.RunLeased():
                assert not held
                assert not cancelled
                assert event.fence == fence + 1
                assert event.run == run + (over or run == 0)
                fence, run, held, over = event.fence, event.run, True, False
            case e.LeaseExpired() | e.RunSucceeded() | e.RunFailed():
                assert held
                assert event.fence == fence
                held, over = False, isinstance(event, e.RunFailed) and event.retry_at is not None
            case e.RunLost():
                assert held is (event.error is not None)
                held, over = False, True
            case e.TaskCancelling():
                cancelled = True
            case e.RunStarted() | e.RunTimingOut():
                assert held
                assert event.fence == fence
            case _ if event.TYPE in e.ENDS:
                assert not held
            case _:
                pass
