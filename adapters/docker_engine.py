"""A Docker engine through the `docker` SDK's low-level client: few calls a run, in a bounded number of threads.

The SDK's types are mostly unknown to the checkers: its client and its answers are `Any` here.
"""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from docker.errors import APIError, NotFound

from adapters.docker_config import Policy, from_labels, name_of, to_create
from adapters.docker_errors import EngineErrors
from adapters.docker_files import place_for, read_tar
from adapters.docker_images import DockerImages
from adapters.docker_output import OutputReader
from adapters.threads import Threads
from domain.errors import CannotRun, EngineDown, EngineTimeout
from domain.ports.running import ContainerState, Found, Left, Output, Planned, Signal

CALL_SECONDS = 15
START_SECONDS = 60
QUIET_SECONDS = 600
WAIT_SECONDS = 60
CALLS = 8
STATES: dict[str, ContainerState] = {"created": "created", "exited": "exited", "dead": "exited", "removing": "exited"}
CREATE = {400: "container-refused", 404: "image-not-found", 409: "name-clash"}
START = {400: "container-refused"}
NEVER = "0002"
"""The year before which the engine puts the start of what never started: removed half-way, it says exit code 0."""
NO_COMMAND = (126, 127)
KILLED, LATE_SECONDS = 137, 0.3
"""What exits after SIGKILL says this; how long after the end the engine may tell that it was for memory."""
T = TypeVar("T")


class DockerEngine:
    """See `domain.ports.running.Containers`."""

    def __init__(self, client: Any, info: dict[str, Any], policy: Policy, runs: int) -> None:
        self._client, self._id, self._policy = client, str(info["ID"]), policy
        self._errors = EngineErrors(info.get("DockerRootDir"))
        self._images = DockerImages(client, self._errors, policy)
        self._calls, self._waits = Threads(CALLS, "engine call"), Threads(max(runs, 1), "engine wait")
        self._url = f"{client.base_url}/v{client.api_version}"
        self._killed = set[str]()

    async def engine_id(self) -> str:
        return self._id

    async def ping(self) -> None:
        await self._ask("ping", self._client.ping)

    async def ensure_image(self, image: str, within: timedelta) -> str | None:
        return await self._images.ensure(image, within)

    async def create(self, planned: Planned) -> Found:
        self._policy.check_network(planned.container.network)
        body, name = to_create(planned, self._policy.limits), name_of(planned.labels.run)
        try:
            made = await self._call(f"create {name}", CREATE, self._create, planned, body, name)
            return Found(made, planned.labels, "created")
        except CannotRun as refused:
            if refused.code == "image-not-found":
                self._images.forget(planned.container.image)
            if refused.code != "name-clash":
                raise
            return await self._take_over(planned, refused)

    def _create(self, planned: Planned, body: dict[str, Any], name: str) -> str:
        made = str(self._client.create_container_from_config(body, name)["Id"])
        self._place(made, planned)
        return made

    def _place(self, id: str, planned: Planned) -> None:
        for folder, archive in place_for(planned):
            self._client.put_archive(id, folder, archive)

    async def _take_over(self, planned: Planned, refused: CannotRun) -> Found:
        labels = planned.labels
        there = await self.inspect(name_of(labels.run))
        if there is None:
            return await self.create(planned)
        theirs = there.labels
        if (theirs.installation, theirs.worker, theirs.run) != (labels.installation, labels.worker, labels.run):
            raise refused
        if theirs.fence == labels.fence:
            if there.state == "created":  # perhaps by a call that was cut off before it placed anything
                await self._call(f"create {name_of(labels.run)}", CREATE, self._place, there.id, planned)
            return there
        if there.state != "created" or not await self.remove(there.id):
            raise refused
        return await self.create(planned)

    async def start(self, id: str, last_look: Callable[[], None]) -> None:
        try:
            await self._call(f"start {id[:12]}", START, self._start, id, last_look)
        except CannotRun as refused:
            if refused.code == "container-refused" and await self._lacks_command(id):
                raise CannotRun("bad-command", refused.detail) from refused
            raise

    async def _lacks_command(self, id: str) -> bool:
        with suppress(EngineDown, EngineTimeout):
            return await self._ask(f"inspect {id[:12]}", self._exit_code, id) in NO_COMMAND
        return False

    def _start(self, id: str, last_look: Callable[[], None]) -> None:
        last_look()
        answer = self._client.post(f"{self._url}/containers/{id}/start", timeout=START_SECONDS)
        if answer.status_code >= 400:
            raise APIError(answer.reason, answer, answer.json().get("message"))

    def _exit_code(self, id: str) -> int:
        return int(self._client.inspect_container(id)["State"]["ExitCode"])

    async def output(self, id: str) -> AsyncGenerator[Output, None]:
        def open_stream() -> Any:
            wanted = {"stdout": 1, "stderr": 1, "follow": 1}
            url, patience = f"{self._url}/containers/{id}/logs", (CALL_SECONDS, QUIET_SECONDS)
            response = self._client.get(url, params=wanted, stream=True, timeout=patience)
            response.raise_for_status()
            return response

        reader = OutputReader(open_stream)
        try:
            while (pieces := await reader.take()) is not None:
                for piece in pieces:
                    yield piece
        finally:
            reader.close()

    async def ended(self, id: str) -> Found | None:
        there = await self.inspect(id)
        if there is not None and there.state == "running":
            await self._waits.call(self._wait, id)
            there = await self.inspect(id)
        if there is None or there.exit_code != KILLED or there.oom_killed or id in self._killed:
            return there
        return replace(there, oom_killed=await self._calls.call(self._told_of_memory, id))

    def _told_of_memory(self, id: str) -> bool:
        """Whether there is an event that says that memory ran out. When it comes after the exit, the container's state
        does not say so, and never will."""
        with suppress(EngineDown, EngineTimeout, CannotRun, ValueError), self._errors.of(f"events of {id[:12]}", {}):
            state = self._client.inspect_container(id)["State"]
            since, until = (datetime.fromisoformat(state[when]).timestamp() for when in ("StartedAt", "FinishedAt"))
            wanted = {
                "since": f"{since:.3f}",
                "until": f"{until + LATE_SECONDS:.3f}",
                "filters": json.dumps({"container": [id], "event": ["oom"]}),
            }
            answer = self._client.get(f"{self._url}/events", params=wanted, timeout=CALL_SECONDS)
            answer.raise_for_status()
            return bool(answer.content.strip())
        return False

    def _wait(self, id: str) -> None:
        try:
            with self._errors.of(f"wait for {id[:12]}", {}):
                self._client.wait(id, timeout=WAIT_SECONDS, condition="not-running")
        except (EngineTimeout, CannotRun):
            return

    async def inspect(self, id: str) -> Found | None:
        return await self._ask(f"inspect {id[:12]}", self._inspect, id)

    def _inspect(self, id: str) -> Found | None:
        try:
            there = self._client.inspect_container(id)
        except NotFound:
            return None
        labels = from_labels(there["Config"]["Labels"] or {})
        if labels is None:
            raise CannotRun("name-clash", f"container {id[:12]} is not one of ours")
        state = STATES.get(there["State"]["Status"], "running")
        exited = state == "exited" and there["State"]["StartedAt"] > NEVER
        return Found(
            there["Id"],
            labels,
            state,
            exit_code=there["State"]["ExitCode"] if exited else None,
            oom_killed=exited and bool(there["State"]["OOMKilled"]),
            image=there.get("Image"),
        )

    async def signal(self, id: str, signal: Signal) -> None:
        if signal == "KILL":
            self._killed.add(id)
        await self._ask(f"signal {id[:12]}", self._signal, id, signal)

    def _signal(self, id: str, signal: Signal) -> None:
        try:
            self._client.kill(id, f"SIG{signal}")
        except APIError as error:
            if error.status_code not in (404, 409):
                raise

    async def read_file(self, id: str, path: str, what: Left = "result") -> bytes | None:
        return await self._ask(f"read {path}", self._read_file, id, path, what)

    def _read_file(self, id: str, path: str, what: Left) -> bytes | None:
        try:
            stream, about = self._client.get_archive(id, path)
        except NotFound:
            return None
        return read_tar(stream, path, int(about["size"]), what)

    async def remove(self, id: str) -> bool:
        self._killed.discard(id)
        return await self._ask(f"remove {id[:12]}", self._remove, id)

    def _remove(self, id: str) -> bool:
        try:
            self._client.remove_container(id, v=True, force=False)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
            return error.status_code == 404
        return True

    async def labelled(self, installation: UUID, worker: str) -> Sequence[Found]:
        wanted = {"label": [f"tally.installation={installation}", f"tally.worker={worker}"]}
        listed = await self._ask("list", self._client.containers, all=True, filters=wanted)
        ours = [summary["Id"] for summary in listed if from_labels(summary["Labels"]) is not None]
        found = [await self.inspect(one) for one in ours]
        return [container for container in found if container is not None]

    async def _ask(self, what: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """A call that may be made again."""
        with self._errors.of(what, {}, otherwise=None):
            return await self._calls.call(function, *args, **kwargs)

    async def _call(self, what: str, codes: dict[int, str], function: Callable[..., T], *args: Any) -> T:
        with self._errors.of(what, codes):
            return await self._calls.call(function, *args)
