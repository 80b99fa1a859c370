"""The servers that every other integration test stands on are real, separate and guarded."""

import pika
import psycopg
import pytest
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError

from infra.dev import engine_api
from tests.support.broker import Vhost
from tests.support.database import Database

pytestmark = pytest.mark.integration


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


def declare(url: str, exchange: str) -> None:
    with connect(url) as connection:
        connection.channel().exchange_declare(exchange, "topic", durable=True)


def publish(url: str, exchange: str, routing_key: str) -> None:
    """Publish and wait for the broker's confirm. Raises ChannelClosedByBroker if it refuses."""
    with connect(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, routing_key, b"{}")


def test_each_test_has_a_migrated_database_of_its_own(pg: Database) -> None:
    with psycopg.connect(pg.owner) as connection:
        count = connection.execute("SELECT count(*) FROM events").fetchone()

    assert count == (0,)


def test_the_platforms_role_can_log_in_and_can_not_change_events(pg: Database) -> None:
    with psycopg.connect(pg.app) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("TRUNCATE events")


def test_only_the_platform_and_workers_may_write_reports(vhost: Vhost) -> None:
    declare(vhost.platform, "task.reports")

    publish(vhost.worker, "task.reports", "run.start.W1")
    with pytest.raises(ChannelClosedByBroker) as caught:
        publish(vhost.client, "task.reports", "run.start.W1")

    assert caught.value.reply_code == 403


def test_clients_may_write_commands_and_workers_may_not(vhost: Vhost) -> None:
    declare(vhost.platform, "task.commands")

    publish(vhost.client, "task.commands", "task.submit.default")
    with pytest.raises(ChannelClosedByBroker) as caught:
        publish(vhost.worker, "task.commands", "task.submit.default")

    assert caught.value.reply_code == 403


def test_the_broker_has_no_guest(vhost: Vhost) -> None:
    host = vhost.platform.partition("@")[2]

    with pytest.raises(ProbableAuthenticationError):
        connect(f"amqp://guest:guest@{host}")


def test_the_engine_has_both_base_images(docker_host: str) -> None:
    assert engine_api.has_image(docker_host, "tallyport/busybox:dev")
    assert engine_api.has_image(docker_host, "tallyport/python:dev")
