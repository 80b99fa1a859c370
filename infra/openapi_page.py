"""docs/reference/openapi.json, written from the routes themselves: `python -m infra.openapi_page`."""

import json
from pathlib import Path
from typing import Any, cast

from api.http.app import create_app, openapi
from api.http.context import About, Api

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "openapi.json"


def page() -> str:
    """The whole document, for an API that takes commands."""
    unused = cast("Any", object())
    about = About("1", "https://issuer.example.org", "https://tally.example.org", {})
    api = Api(
        tokens=unused,
        queries=unused,
        explaining=unused,
        logs=unused,
        dead_letters=unused,
        watch=unused,
        traces=unused,
        new_id=unused,
        about=about,
        desk=unused,
    )
    return json.dumps(openapi(create_app(api)), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
