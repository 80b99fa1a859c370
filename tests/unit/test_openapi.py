import json
from typing import Any

import pytest

from domain.ports.authorising import SCOPES
from infra.openapi_page import PAGE, page

OPEN_TO_ALL = {
    "/livez",
    "/readyz",
    "/startupz",
    "/version",
    "/v1/schemas",
    "/v1/schemas/{type}",
    "/.well-known/oauth-protected-resource",
}
DOCUMENT: dict[str, Any] = json.loads(page())
OPERATIONS = [(path, method, entry) for path, methods in DOCUMENT["paths"].items() for method, entry in methods.items()]


def test_the_published_document_is_that_of_the_routes() -> None:
    assert PAGE.read_text() == page(), "run: python -m infra.openapi_page"


@pytest.mark.parametrize(("path", "method", "entry"), OPERATIONS, ids=[f"{m} {p}" for p, m, _ in OPERATIONS])
def test_every_route_is_protected_by_a_scope_or_listed_as_open(path: str, method: str, entry: dict[str, Any]) -> None:
    if path in OPEN_TO_ALL:
        assert method == "get"
        assert "security" not in entry
    else:
        [[scope]] = [list(scopes) for one in entry["security"] for scopes in one.values()]
        assert scope in SCOPES
        assert (method == "post") == (scope == "commands:write")


def test_only_commands_are_posted() -> None:
    assert {path for path, method, _ in OPERATIONS if method != "get"} == {"/v1/commands", "/v1/tasks"}
