"""The same servers by testcontainers, on images made here: TALLY_STACK=containers is as good as native."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.dev import server_images
from tests.support.stack import Servers

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def test_the_servers_tests_pass_on_containers(servers: Servers, docker_host: str) -> None:
    server_images.ensure_servers(docker_host)
    env = {
        **os.environ,
        "TALLY_STACK": "containers",
        "DOCKER_HOST": docker_host,
        "TESTCONTAINERS_HOST_OVERRIDE": servers.engine()[1],
        "TALLY_IMAGE_POSTGRES": server_images.POSTGRES,
        "TALLY_IMAGE_RABBITMQ": server_images.RABBITMQ,
    }

    command = [sys.executable, "-m", "pytest", "-q", "tests/integration/test_stack.py"]
    told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)

    assert told.returncode == 0, told.stderr + told.stdout[-3000:]
