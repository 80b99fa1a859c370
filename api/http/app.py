"""The application: every route, what surrounds them, and the OpenAPI document they make."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from api.http import about, commands, log, operations, problems, run_logs, schedules, task_types, tasks
from api.http.access import Rates
from api.http.context import Api
from api.http.edge import Edge
from api.http.route import SCHEME
from api.http.waiting import Waiting
from domain.ports.authorising import SCOPES

DESCRIPTION = """Asks Tallyport what ran, why, when and with what outcome; and takes commands.

Errors are problem details (RFC 9457) with a stable `code` and the `trace_id` of the request. Times are UTC (RFC 3339),
durations ISO 8601. What lies in a namespace that the token does not name does not exist for it.
"""
PROBLEM: dict[str, Any] = {
    "description": "Refused, or failed",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "code", "trace_id"],
                "properties": {
                    "type": {"type": "string", "format": "uri"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                    "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                    "errors": {"type": "array", "items": {"type": "object"}},
                },
            }
        }
    },
}
MEANINGS = {
    "tasks:read": "Tasks, runs, workflows",
    "logs:read": "What runs print",
    "events:read": "The event log",
    "schedules:read": "Schedules and their fires",
    "commands:read": "Outcomes of commands",
    "commands:write": "Send commands",
    "ops:read": "Workers, followers of the log, dead letters",
}


def create_app(api: Api) -> FastAPI:
    """The API over these surroundings. Commands are taken when there is a desk for them."""
    app = FastAPI(
        title="Tallyport",
        version=api.about.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses={"4XX": PROBLEM, "5XX": PROBLEM},
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.api, app.state.rates = api, Rates(api.bounds)
    app.state.published, app.state.waiting, app.state.started = commands.Published(), Waiting(), False
    known = (tasks, run_logs, schedules, task_types, log, commands, operations, about)
    routers = [module.router for module in known]
    for router in routers if api.desk is None else [*routers, commands.posting]:
        app.include_router(router)
    app.add_api_route("/openapi.json", _openapi_route(app), include_in_schema=False)
    app.state.methods = _methods(app)
    app.add_exception_handler(RequestValidationError, problems.of_validation)
    app.add_exception_handler(HTTPException, problems.of_http)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)
    app.add_middleware(Edge, api)
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1, with the scopes that the routes enforce."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {
            "type": "oauth2",
            "description": "Also `ns:<namespace>` for each namespace to reach, or `ns:*`",
            "flows": {"clientCredentials": {"tokenUrl": "/token", "scopes": {s: MEANINGS[s] for s in SCOPES}}},
        }
        _without_unused_answers(document)
        app.openapi_schema = document
    return app.openapi_schema


def _without_unused_answers(document: dict[str, Any]) -> None:
    """Drop the framework's own form of errors: every error here is a problem document."""
    for operations_of in document["paths"].values():
        for operation in operations_of.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"].get("schemas", {}).pop(name, None)


def _methods(app: FastAPI) -> dict[str, str]:
    """What `Allow` says of each path: routes of several routers may share one."""
    paths = openapi(app)["paths"].items()
    methods = {path: {method.upper() for method in operations_of} for path, operations_of in paths}
    return {path: ", ".join(sorted(own | {"HEAD"} if "GET" in own else own)) for path, own in methods.items()}


def _openapi_route(app: FastAPI) -> Any:
    async def document() -> dict[str, Any]:
        """This API as OpenAPI 3.1."""
        return openapi(app)

    return document
