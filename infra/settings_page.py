"""docs/reference/settings.md, written from the settings themselves: `python -m infra.settings_page`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infra.settings import ALIASES, env_name, fields, is_secret

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
HEAD = """# Settings

A setting is taken from the first of these that gives it: a flag of the command, its environment variable, an alias
of that, a secret file, `tally.toml` in the working folder (or the file `TALLY_CONFIG` names), its default. In
`tally.toml` the group is a table: `[api]`, then `port = 8080`. Lists and maps are JSON in an environment variable.
Durations are ISO 8601 (`PT3S`) or seconds.

A **secret** is never shown. It may also stand in a file, named by its variable with `_FILE` added, or in the folder
`TALLY_SECRETS_DIR` under its variable's name in lower case. An unknown key is refused.

"""


def page() -> str:
    """The whole page, as Markdown."""
    aliases = {key: name for name, key in ALIASES.items()}
    rows = ["| Setting | Environment | Default | Meaning |", "|---|---|---|---|"]
    for key, field in fields():
        names = [env_name(key)] + ([aliases[key]] if key in aliases else [])
        meaning = f"{field.description}{' **Secret.**' if is_secret(field) else ''}"
        environment = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| `{key}` | {environment} | {_default(field)} | {meaning} |")
    return HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if is_secret(field):
        return f"`{value.get_secret_value()}`"
    if isinstance(value, timedelta):
        return f"`{TypeAdapter(timedelta).dump_python(value, mode='json')}`"
    if isinstance(value, (tuple, dict)):
        return f"`{TypeAdapter(Any).dump_json(value).decode()}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
