"""`tally serve issuer`: the development issuer over HTTP."""

import asyncio

from domain.ports.tracing import Traces
from infra.issuer import Issuer, issuer_app
from infra.serving import listening, serving
from infra.settings import Settings


async def main(settings: Settings, traces: Traces) -> None:
    """Tokens for development, compose and tests."""
    sock = listening(settings.issuer.host, settings.issuer.port)
    host, port = sock.getsockname()[:2]
    url = settings.issuer.public_url or f"http://{host}:{port}"
    issuer = Issuer(url, settings.issuer.folder, settings.auth.audience)
    async with serving(issuer_app(issuer), sock):
        await asyncio.Event().wait()
