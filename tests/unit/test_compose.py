"""compose.yaml is what the code says: one service a process, each with its health, the broker's accounts the same."""

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from infra.deploy.connected import connected_ports
from infra.dev.broker_users import PERMISSIONS

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sysconfig.get_path("scripts")) / "docker-compose"
PROCESSES = {
    *("issuer", "api", "handler", "conductor", "messenger", "projector", "relay", "logkeeper", "notifier", "worker")
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    command = [str(COMPOSE), "config", "--format", "json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    parsed: dict[str, Any] = json.loads(told.stdout)
    return parsed


def test_every_process_is_a_service_of_its_own(compose: dict[str, Any]) -> None:
    commands = {name: service.get("command") for name, service in compose["services"].items()}

    assert set(commands) == {*PROCESSES, "postgres", "rabbitmq", "migrate"}
    assert all(commands[name] == ["serve", name] for name in PROCESSES)


def test_every_service_that_stays_has_a_health_check(compose: dict[str, Any]) -> None:
    without = {name for name, service in compose["services"].items() if "healthcheck" not in service}

    assert without == {"migrate"}


def test_processes_start_after_the_migration_and_it_after_the_servers(compose: dict[str, Any]) -> None:
    services = compose["services"]
    order = {name: set(service.get("depends_on", {})) for name, service in services.items()}

    assert order["migrate"] == {"postgres", "rabbitmq"}
    assert all("migrate" in order[name] for name in PROCESSES - {"issuer"})


def test_the_brokers_accounts_are_those_of_development(compose: dict[str, Any]) -> None:
    accounts = json.loads(compose["configs"]["accounts"]["content"].replace("$$", "$"))
    granted = {one["user"]: (one["configure"], one["write"], one["read"]) for one in accounts["permissions"]}

    assert granted == {name: (one.configure, one.write, one.read) for name, one in PERMISSIONS.items()}
    assert {user["name"] for user in accounts["users"]} == set(PERMISSIONS)


def test_only_loopback_ports_are_published(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert published
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_a_container_is_connected_to_the_remote_ports_of_its_established_connections() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:1F90 00000000:0000 0A\n"  # listening on 8080
        "   1: 020012AC:D431 030012AC:1628 01\n"  # established to 5672
        "   2: 020012AC:D432 040012AC:1538 06\n"  # to 5432, waiting to be forgotten
    )

    assert connected_ports(table) == {5672}
