"""Webhooks against a real receiver on this machine that answers well, badly, late or not at all."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from adapters import webhooks
from adapters.clock import SystemClock
from adapters.webhooks import WebhookChannel, http_client
from domain.notifying import Notification, Tried
from tests.support.ended_tasks import TASK, failed, stored
from tests.support.receiver import Receiver, receiving

pytestmark = pytest.mark.integration

SECRET = "whsec_" + "c2VjcmV0" * 4
FAILED = Notification(stored(failed(TASK)[-1]), "ops")


@pytest.fixture
async def client() -> AsyncGenerator[httpx2.AsyncClient]:
    async with http_client() as client:
        yield client


def channel(client: httpx2.AsyncClient, receiver: Receiver, url: str = "") -> WebhookChannel:
    url = url or f"webhook+http://127.0.0.1:{receiver.port}/in?key=1"
    return WebhookChannel(url, SECRET, client, SystemClock(), allow_private=True)


async def test_a_webhook_can_be_verified_by_its_receiver(client: httpx2.AsyncClient) -> None:
    async with receiving(200) as receiver:
        assert await channel(client, receiver).send(FAILED) == Tried()

    [request] = receiver.requests
    assert request.path == "/in?key=1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == str(FAILED.event.event_id)
    assert Webhook(SECRET).verify(request.body, request.headers) == {
        "type": "task.failed.v1",
        "timestamp": "2026-11-21T03:12:40Z",
        "data": {"task_id": "T1", "reason": "oom", "runs": 1, "exit_code": 137, "verified": True},
    }


async def test_an_altered_webhook_does_not_verify(client: httpx2.AsyncClient) -> None:
    async with receiving() as receiver:
        await channel(client, receiver).send(FAILED)
    [request] = receiver.requests
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(request.body.replace(b"oom", b"ok"), request.headers)


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        (500, "answered 500"),
        (404, "answered 404"),
        (302, "answered 302"),
        ("reset", "ReadError: "),
        (b"", "RemoteProtocolError: Server disconnected without sending a response."),
        (b"not http\r\n\r\n", "RemoteProtocolError: illegal status line"),
    ],
)
async def test_any_other_answer_is_a_failed_try(
    client: httpx2.AsyncClient, does: int | str | bytes, problem: str
) -> None:
    async with receiving(does) as receiver:
        tried = await channel(client, receiver).send(FAILED)
    assert tried.problem is not None
    assert tried.problem.startswith(problem)
    assert not tried.final
    assert receiver.connections == 1


async def test_a_receiver_that_hangs_is_given_up(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TOTAL_SECONDS", 0.2)
    async with receiving("hang") as receiver:
        assert await channel(client, receiver).send(FAILED) == Tried("no answer within 0.2 s")


@pytest.mark.parametrize(
    "rest", [b"x" * (1 << 20), b"content-length: 9\r\n\r\nx", b"transfer-encoding: chunked\r\n\r\n?"]
)
async def test_an_answer_counts_by_its_status_however_long_short_or_wrong_the_rest_is(
    client: httpx2.AsyncClient, rest: bytes
) -> None:
    async with receiving(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if rest[:1] == b"x" else b"") + rest) as receiver:
        assert await channel(client, receiver).send(FAILED) == Tried()


async def test_a_body_that_never_ends_delays_nothing(client: httpx2.AsyncClient) -> None:
    async with receiving("drip") as receiver:
        assert await asyncio.wait_for(channel(client, receiver).send(FAILED), 5) == Tried()


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example.org"])
async def test_a_host_that_can_have_no_address_is_a_failed_try(client: httpx2.AsyncClient, host: str) -> None:
    never = WebhookChannel(f"webhook+https://{host}/", SECRET, client, SystemClock())
    tried = await never.send(FAILED)
    assert "no such host" in str(tried.problem)


async def test_names_that_are_long_in_the_finding_hold_up_no_other_channel(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, look, asked = threading.Event(), socket.getaddrinfo, threading.Semaphore(0)

    def getaddrinfo(host: str, *more: Any, **named: Any) -> Any:
        if host == "slow.example.org":
            asked.release()
            found.wait(20)
            raise socket.gaierror("no such host")
        return look(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    slow = WebhookChannel("webhook+https://slow.example.org/", SECRET, client, SystemClock())
    async with receiving() as receiver:
        waiting = [asyncio.create_task(slow.send(FAILED)) for _ in range(100)]
        await asyncio.to_thread(asked.acquire)
        try:
            assert await asyncio.wait_for(channel(client, receiver).send(FAILED), 5) == Tried()
        finally:
            found.set()
        await asyncio.gather(*waiting)


async def test_nothing_listens(client: httpx2.AsyncClient) -> None:
    async with receiving() as receiver:
        pass
    tried = await channel(client, receiver).send(FAILED)
    assert tried.problem is not None
    assert tried.problem.startswith("ConnectError")


@pytest.mark.parametrize(
    "host",
    ["127.1", "0x7f000001", "017700000001", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
     "169.254.169.254", "[64:ff9b::7f00:1]"],
)  # fmt: skip
async def test_a_private_address_is_never_connected_to(client: httpx2.AsyncClient, host: str) -> None:
    async with receiving() as receiver:
        guarded = replace(channel(client, receiver, f"webhook+https://{host}/"), allow_private=False)
        tried = await guarded.send(FAILED)
    assert tried.final
    assert "blocked-address" in str(tried.problem)
    assert receiver.connections == 0


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:10.0.0.1"]])
async def test_a_name_with_one_private_address_is_never_connected_to(
    client: httpx2.AsyncClient, answer: list[str]
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return answer

    async with receiving() as receiver:
        guarded = channel(client, receiver, "webhook+https://hooks.example.org/")
        tried = await replace(guarded, allow_private=False, resolve=resolve).send(FAILED)
    assert tried.final
    assert "blocked-address" in str(tried.problem)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with http_client() as client:
            assert await channel(client, receiver).send(FAILED) == Tried()
    assert (proxy.connections, receiver.connections) == (0, 1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of hooks.example.org, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=hooks.example.org")
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.org")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("host", "known"), [("hooks.example.org", True), ("other.example.org", False)])
async def test_a_name_is_resolved_once_and_its_certificate_checked_by_name(
    certificate: Path, host: str, known: bool
) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    receiver = Receiver([])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with http_client(ssl.create_default_context(cafile=str(certificate))) as client:
        to_name = channel(client, receiver, f"webhook+https://{host}:{port}/")
        tried = await replace(to_name, resolve=resolve).send(FAILED)
    server.close()
    assert asked == [host]
    if known:
        assert tried == Tried()
        assert receiver.requests[0].headers["host"] == f"hooks.example.org:{port}"
    else:
        assert "CERTIFICATE_VERIFY_FAILED" in str(tried.problem)
        assert receiver.requests == []
