"""`tally login`, `logout`, `whoami`, `token`, `config show`."""

import asyncio
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from api.cli.exits import FAILED, Exit, say
from api.cli.output import COMMON, Column, Common, document, field, rows, write


def login(
    issuer: str | None = None, *, client_id: str = "admin", api: str | None = None, amqp: str | None = None
) -> int:
    """Keep a client's credentials for later commands. The secret is read from stdin, or asked for.

    Parameters
    ----------
    issuer
        Address of the issuer; left out, that of the running `tally dev`.
    client_id
        The client.
    api
        Address of the API; left out, `client.api_url`, or that of the running `tally dev`.
    amqp
        Where commands are published; left out, by POST.
    """
    from infra import login as keeping
    from infra.client import bearer_of
    from infra.dev_file import running_in
    from infra.settings import load

    settings = load()
    dev = running_in(settings.dev.folder)
    issuer = issuer or (dev.issuer_url if dev else None)
    api = api or settings.client.api_url or (dev.api_url if dev else None)
    if issuer is None or api is None:
        raise Exit(FAILED, "issuer: none given and no `tally dev` runs; give its address, and --api")
    secret = dev.client_secret if dev and (issuer, client_id) == (dev.issuer_url, dev.client_id) else _secret(client_id)
    user = keeping.Login(api, issuer, client_id, secret, amqp)
    asyncio.run(bearer_of(user, None).token())
    keeping.save(user)
    say(f"logged in as {client_id}; kept in {keeping.folder()}")
    return 0


def logout() -> int:
    """Forget the kept credentials."""
    from infra.login import forget

    say("logged out" if forget() else "nobody was logged in")
    return 0


def whoami(*, common: Common = COMMON) -> int:
    """Show who asks, where, and what for."""
    from infra.client import target
    from infra.settings import load

    where = target(load())
    token = asyncio.run(where.bearer().token())
    claims = _claims(token) if token else {}
    said = {
        "client": claims.get("client_id") or claims.get("azp") or claims.get("sub"),
        "scopes": claims.get("scope"),
        "issuer": claims.get("iss"),
        "api": where.api_url,
        "commands": "AMQP" if where.amqp_url else "POST",
        "found in": where.origin,
    }
    if common.people:
        write("".join(f"{name:<9} {value or '-'}\n" for name, value in said.items()))
    else:
        document(said, common, name="client")
    return 0


def token(*, scope: str | None = None) -> int:
    """Print a bearer token, such as for `curl -H "Authorization: Bearer $(tally token)"`.

    Parameters
    ----------
    scope
        Only these scopes, with blanks between; left out, all that the client may have.
    """
    from infra.client import bearer_of, target
    from infra.settings import load

    where = target(load())
    bearer = where.bearer() if scope is None or where.user is None else bearer_of(where.user, None, scope)
    found = asyncio.run(bearer.token())
    if found is None:
        raise Exit(FAILED, "no token: `tally login`, or set TALLY_CLIENT__TOKEN_FILE")
    write(found + "\n")
    return 0


def show(*, origin: Annotated[bool, Parameter(negative=())] = False, common: Common = COMMON) -> int:
    """Show the settings in force; secrets are not shown.

    Parameters
    ----------
    origin
        Also name the environment variable of each.
    """
    from infra.settings import env_name, fields, is_secret, load

    settings: Any = load()
    found: list[dict[str, Any]] = []
    for key, info in fields():
        if "<" in key:
            continue
        group, name = key.split(".")
        value = getattr(getattr(settings, group), name)
        shown = None if value is None else "**********" if is_secret(info) else str(value)
        found.append({"key": key, "value": shown, "default": value == info.default, "variable": env_name(key)})
    columns = (
        Column("KEY", field("key")),
        Column("VALUE", field("value")),
        Column("FROM", lambda row, _: "default" if row["default"] else "set"),
        Column("VARIABLE", field("variable"), wide=not origin),
    )
    rows(found, columns, common, name="key")
    return 0


def _secret(client_id: str) -> str:
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"Secret of {client_id}: ")
    return sys.stdin.readline().strip()


def _claims(token: str) -> dict[str, Any]:
    """What the token says, unverified: the platform checks it."""
    import json
    from base64 import urlsafe_b64decode

    try:
        part = token.split(".")[1]
        said: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return said
