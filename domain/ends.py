"""What the end of a task tells those that come after it. Pure."""

from domain import events as e
from domain.templates import Known


def known(end: e.Event) -> Known:
    """What templates may ask of a task that ended so."""
    status = end.TYPE.split(".")[1]
    match end:
        case e.TaskSucceeded(exit_code=exit_code, result=result, artifacts=artifacts):
            facts = {one.name: one.model_dump(exclude={"name"}) for one in artifacts or ()}
            return Known(status, exit_code, result, facts)
        case e.TaskFailed(exit_code=exit_code, result=result):
            return Known(status, exit_code, result)
        case e.TaskCancelled(exit_code=exit_code):
            return Known(status, exit_code)
        case _:
            return Known(status)
