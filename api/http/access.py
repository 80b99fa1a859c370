"""Who may ask: bearer token, scope, namespaces, and how often."""

import re
from typing import cast
from uuid import UUID

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.requests import Request
from starlette.responses import Response

from api.http.context import Bounds, api_of, principal_of
from api.http.problems import NOT_FOUND, NoCredentials, TooManyRequests, of_error, problem, trace_id_of
from domain.errors import AmbiguousId, InsufficientScope, InvalidToken, NotFound
from domain.messages import is_uuid
from domain.ports.authorising import Principal
from domain.ports.querying import MIN_PREFIX, Allowed, Kind

REALM = "tallyport"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}(\[[0-9]{1,4}\])?")


class InvalidRequest(InvalidToken):
    code, title = "invalid-request", "Invalid request"


class MissingScope(InsufficientScope):
    """`scope`: what the token would have to have."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"scope {scope} is needed; ask the issuer for a token with it")
        self.scope = scope


async def authorise(request: Request, scope: str) -> Principal:
    """The caller, who may do what `scope` stands for. Raises InvalidToken, MissingScope, TooManyRequests."""
    given = request.headers.getlist("authorization")
    if "access_token" in request.query_params:
        raise NoCredentials("access_token: tokens are not taken from an address; send Authorization: Bearer")
    if len(given) > 1:
        raise InvalidRequest("Authorization is given more than once; send one")
    kind, _, token = given[0].partition(" ") if given else ("", "", "")
    if kind.lower() != "bearer" or not token:
        raise NoCredentials("a token is needed; send Authorization: Bearer <token>")
    principal = await api_of(request).tokens.principal(token)
    request.state.principal = principal
    await api_rates(request).count(principal.subject)
    if scope not in principal.scopes:
        raise MissingScope(scope)
    return principal


def refused(request: Request, error: InvalidToken | MissingScope) -> Response:
    """401, 403 or 400 with the challenge of RFC 6750 and where to get a token (RFC 9728)."""
    parts = [f'realm="{REALM}"']
    answer = of_error(request, error)
    if isinstance(error, MissingScope):
        parts += ['error="insufficient_scope"', f'scope="{error.scope}"']
    elif isinstance(error, InvalidRequest):
        answer = problem(400, error.problem(), trace_id_of(request))
        parts.append('error="invalid_request"')
    elif not isinstance(error, NoCredentials):
        parts += ['error="invalid_token"', 'error_description="expired, not for this API, or not by its issuer"']
    about = api_of(request).about
    parts.append(f'resource_metadata="{about.resource}/.well-known/oauth-protected-resource"')
    answer.headers["WWW-Authenticate"] = "Bearer " + ", ".join(parts)
    return answer


def allowed(request: Request, namespace: str | None) -> Allowed:
    """The namespaces a list may show. Raises NotFound for one that the caller does not reach."""
    principal = principal_of(request)
    if namespace is None:
        return principal.namespaces
    if not principal.reaches(namespace):
        raise NotFound(NOT_FOUND)
    return frozenset({namespace})


async def stream_of(request: Request, kind: Kind, ref: str, namespace: str | None) -> tuple[UUID, Allowed]:
    """The id that `ref` names for this caller. Raises NotFound, AmbiguousId."""
    api, reach = api_of(request), allowed(request, namespace)
    if not may_name(ref):
        raise NotFound(NOT_FOUND)
    is_name = kind != "run" and is_uuid(ref) is None and not _may_be_prefix(ref)
    if is_name and (reach is None or len(reach) != 1):
        raise AmbiguousId("namespace: a name needs the namespace it is in; add ?namespace=, or give the id")
    stream = await api.queries.resolve(kind, ref, reach)
    if stream is None:
        raise NotFound(NOT_FOUND)
    return stream, reach


def may_name(ref: str) -> bool:
    """Whether anything can have this id or name; nothing else is worth a look."""
    return NAME.fullmatch(ref) is not None


def _may_be_prefix(ref: str) -> bool:
    return len(ref) >= MIN_PREFIX and not set(ref.lower()) - set("0123456789abcdef-")


class Rates:
    """Requests a second and open feeds, by principal, in this process."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds, self._window = bounds, FixedWindowRateLimiter(MemoryStorage())
        self._item = RateLimitItemPerSecond(bounds.reads)
        self._feeds: dict[str, int] = {}

    async def count(self, subject: str) -> None:
        """One more request. Raises TooManyRequests."""
        if not await self._window.hit(self._item, subject):
            raise TooManyRequests(f"more than {self._bounds.reads} requests in a second; wait a second")

    async def left(self, subject: str) -> int:
        """Requests that this second still has for `subject`."""
        return (await self._window.get_window_stats(self._item, subject)).remaining

    def open_feed(self, subject: str) -> None:
        """One more feed. Raises TooManyRequests."""
        if self._feeds.get(subject, 0) >= self._bounds.streams_per_user:
            raise TooManyRequests(f"{self._bounds.streams_per_user} feeds are open; close one first", after=5)
        self._feeds[subject] = self._feeds.get(subject, 0) + 1

    def close_feed(self, subject: str) -> None:
        """One feed less."""
        self._feeds[subject] -= 1
        if not self._feeds[subject]:
            del self._feeds[subject]


def api_rates(request: Request) -> Rates:
    """The counts of this application."""
    return cast("Rates", request.app.state.rates)
