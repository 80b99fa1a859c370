"""JSON that the database wrote, on its way out: tags, cursors, positions."""

from collections.abc import Iterable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from domain.ports.querying import Found, Listed, Read


def one(request: Request, found: Found, mark: str, body: str | bytes | None = None) -> Response:
    """One thing with its ETag; 304 when the caller has it as it is. `body`: what to say of it, if not all."""
    headers = {"ETag": mark, "X-Position": str(found.head)}
    if matches(request, mark):
        return Response(status_code=304, headers=headers)
    return Response(found.body if body is None else body, 200, headers, "application/json")


def many(request: Request, listed: Listed) -> Response:
    """A page of views; 304 when the caller has this page of these views."""
    mark = f'"p{listed.head}"'
    answer = Response(status_code=304) if matches(request, mark) else page(request, listed)
    answer.headers.update({"ETag": f"W/{mark}", "X-Position": str(listed.head)})
    return answer


def page(request: Request, listed: Listed) -> Response:
    """A page of what changes without the views, so it has no ETag; with the address of the next one."""
    headers = {"X-Position": str(listed.head)}
    if listed.next is not None:
        headers["Link"] = f'<{_with(request, cursor=listed.next)}>; rel="next"'
    return Response(listed.body, 200, headers, "application/json")


def log_page(request: Request, read: Read, parameter: str) -> Response:
    """A page of events; `parameter` carries on from it, now or later."""
    headers = {"X-Position": str(read.up_to), "Link": f'<{_with(request, **{parameter: read.up_to})}>; rel="next"'}
    return Response(read.body, 200, headers, "application/json")


def tag(found: Found) -> str:
    """The ETag of what has but one stream of events: its version."""
    return f'"v{found.version}"'


def graph_tag(found: Found) -> str:
    """The ETag of a workflow: its tasks, which it shows, change without its own version."""
    return f'"p{found.position}"'


def matches(request: Request, mark: str) -> bool:
    """Whether the caller says he has what `mark` marks."""
    given = (part.strip() for part in request.headers.get("if-none-match", "").split(","))
    return any(part.removeprefix("W/") in (mark, "*") for part in given)


def _with(request: Request, **changes: object) -> str:
    kept: Iterable[tuple[str, str]] = (
        (name, value) for name, value in request.query_params.multi_items() if name not in changes
    )
    return f"{request.url.path}?{urlencode([*kept, *changes.items()])}"
