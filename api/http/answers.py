"""JSON that the database wrote, on its way out: tags, cursors, positions."""

from collections.abc import Iterable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from domain.ports.querying import Found, Listed, Read


def one(request: Request, found: Found) -> Response:
    """One thing with its ETag `"v<version>"`; 304 when the caller has that version."""
    headers = {"ETag": tag(found.version), "X-Position": str(found.head)}
    if matches(request, found.version):
        return Response(status_code=304, headers=headers)
    return Response(found.body, 200, headers, "application/json")


def many(request: Request, listed: Listed) -> Response:
    """A page, with the address of the next one; 304 when the caller has this page of these views."""
    mark = f'W/"p{listed.head}"'
    headers = {"ETag": mark, "X-Position": str(listed.head)}
    if mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if listed.next is not None:
        headers["Link"] = f'<{_with(request, cursor=listed.next)}>; rel="next"'
    return Response(listed.body, 200, headers, "application/json")


def log_page(request: Request, read: Read, parameter: str) -> Response:
    """A page of events; `parameter` carries on from it, now or later."""
    headers = {"X-Position": str(read.up_to), "Link": f'<{_with(request, **{parameter: read.up_to})}>; rel="next"'}
    return Response(read.body, 200, headers, "application/json")


def tag(version: int) -> str:
    """The ETag of a version."""
    return f'"v{version}"'


def matches(request: Request, version: int) -> bool:
    """Whether the caller says he has this version."""
    given = (part.strip() for part in request.headers.get("if-none-match", "").split(","))
    return any(part.removeprefix("W/") == tag(version) for part in given)


def _with(request: Request, **changes: object) -> str:
    kept: Iterable[tuple[str, str]] = (
        (name, value) for name, value in request.query_params.multi_items() if name not in changes
    )
    return f"{request.url.path}?{urlencode([*kept, *changes.items()])}"
