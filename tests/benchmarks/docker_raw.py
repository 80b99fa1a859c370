"""What the container engine alone can do: create, start, wait, logs, remove, through the same SDK."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker

COMMAND = ["echo", "hi"]


class Raw:
    """The engine at `host`, `slots` containers at once, network none."""

    def __init__(self, host: str, image: str, slots: int) -> None:
        self._client: Any = docker.APIClient(base_url=host, version="auto", num_pools=slots * 2, timeout=120)
        self._image, self._slots = image, slots

    def one(self) -> float:
        """Run one container; seconds."""
        began = time.monotonic()
        config = self._client.create_host_config(network_mode="none")
        container = self._client.create_container(self._image, COMMAND, host_config=config)["Id"]
        self._client.start(container)
        self._client.wait(container)
        assert self._client.logs(container) == b"hi\n"
        took = time.monotonic() - began
        self._client.remove_container(container)
        return took

    def rate(self, count: int) -> float:
        """Containers a second for `count` of them."""
        began = time.monotonic()
        with ThreadPoolExecutor(self._slots) as threads:
            for running in [threads.submit(self.one) for _ in range(count)]:
                running.result()
        return count / (time.monotonic() - began)

    def close(self) -> None:
        self._client.close()
