"""The bad-input corpus for AMQP: one file a case, `{"q": reason}` a dead letter, `{"j": code}` a refusal."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.ports.broker import Delivery
from infra.topology import COMMANDS

FOLDER = Path(__file__).parent.parent / "corpus" / "amqp"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    properties: dict[str, Any]
    headers: dict[str, Any]
    body: bytes
    expected: dict[str, str]
    exchange: str = COMMANDS

    @property
    def routing_key(self) -> str:
        return "task.submit.default" if self.exchange == COMMANDS else "corpus"

    def delivery(self) -> Delivery:
        """The case as it would arrive on a queue of the command handler's."""
        return Delivery(
            tag=1,
            queue=f"{self.exchange}.handler",
            exchange=self.exchange,
            routing_key=self.routing_key,
            body=self.body,
            headers=self.headers,
            **self.properties,
        )


def cases() -> list[Case]:
    return [case(path) for path in sorted(FOLDER.glob("*.json"))]


def case(path: Path) -> Case:
    """A body is text, base64, or a list of [text, times]; `headers_repeated` is [name, how many].

    `exchange` is where it is sent, if not to the commands.
    """
    told = json.loads(path.read_text())
    headers = told.get("headers", {})
    if "headers_repeated" in told:
        name, times = told["headers_repeated"]
        headers |= {f"{name}{number}": "x" for number in range(times)}
    return Case(path.stem, told["properties"], headers, body(told), told["expected"], told.get("exchange", COMMANDS))


def body(told: dict[str, Any]) -> bytes:
    if "body_base64" in told:
        return base64.b64decode(told["body_base64"])
    if isinstance(told["body"], str):
        return told["body"].encode()
    return b"".join(text.encode() * times for text, times in told["body"])
