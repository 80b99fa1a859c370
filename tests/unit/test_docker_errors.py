"""The engine's failures by class and status code: what a run's history then gives as the reason."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, DockerException, ImageNotFound
from requests import Response
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ReadTimeout

from adapters import docker_errors
from adapters.docker_config import Policy
from adapters.docker_errors import EngineErrors
from adapters.docker_images import PULL, DockerImages, digest_of
from domain.errors import CannotRun, EngineDown, EngineTimeout
from tests.support.runs import BUSYBOX

WITHIN = timedelta(seconds=10)


def answered(status: int) -> APIError:
    response = Response()
    response.status_code = status
    return APIError("refused", response, "its own words")


def code_of(error: Exception, errors: EngineErrors | None = None) -> str:
    with pytest.raises(CannotRun) as caught, (errors or EngineErrors()).of("pull x", PULL, "pull-failed"):
        raise error
    assert "its own words" in caught.value.detail
    return caught.value.code


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "image-not-found"), (429, "pull-rate-limited"), (401, "pull-failed"), (500, "pull-failed")],
)
def test_a_status_code_makes_the_reason(status: int, code: str) -> None:
    assert code_of(answered(status)) == code


def test_a_server_error_on_a_full_disk_is_the_disk_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = EngineErrors(str(tmp_path))
    assert code_of(answered(500), errors) == "pull-failed"
    monkeypatch.setattr(docker_errors, "ROOM", 1 << 62)
    assert code_of(answered(500), errors) == "disk-full"
    assert code_of(answered(404), errors) == "image-not-found"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ReadTimeout("slow"), EngineTimeout),
        (NoConnection("refused"), EngineDown),
        (DockerException("version unknown"), EngineDown),
        (ConnectionResetError("gone"), EngineDown),
    ],
)
def test_an_engine_that_does_not_answer_is_tried_again(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind), EngineErrors().of("create", {}):
        raise error


def test_a_question_that_may_be_asked_again_survives_a_server_error() -> None:
    with pytest.raises(EngineDown), EngineErrors().of("inspect", {}, otherwise=None):
        raise answered(500)
    with pytest.raises(CannotRun), EngineErrors().of("inspect", {}, otherwise=None):
        raise answered(400)


class Registry:
    """An engine whose registry answers pulls with these lines."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        self.lines, self.looks = lines, 0

    def inspect_image(self, image: str) -> dict[str, Any]:
        self.looks += 1
        if self.looks == 1:
            raise ImageNotFound("no", answered(404).response)
        return {"Id": "sha256:own", "RepoDigests": [f"{image.split(':', maxsplit=1)[0]}@sha256:theirs"]}

    def pull(self, image: str, stream: bool, decode: bool) -> tuple[dict[str, Any], ...]:
        return self.lines


async def pulled(*lines: dict[str, Any]) -> str | None:
    images = DockerImages(Registry(*lines), EngineErrors(), Policy())
    return await images.ensure("library/x:1", WITHIN)


async def test_an_image_that_was_fetched_has_its_registry_s_digest() -> None:
    assert await pulled({"status": "Pulling"}, {"status": "Done"}) == "sha256:theirs"


@pytest.mark.parametrize(
    ("status", "code"), [(429, "pull-rate-limited"), (404, "image-not-found"), (None, "pull-failed")]
)
async def test_an_error_in_the_middle_of_a_pull_makes_the_reason(status: int | None, code: str) -> None:
    with pytest.raises(CannotRun) as caught:
        await pulled({"status": "Pulling"}, {"errorDetail": {"code": status, "message": "too many"}})
    assert caught.value.code == code


async def test_an_image_that_no_pattern_names_is_not_looked_for() -> None:
    images = DockerImages(Registry(), EngineErrors(), Policy(images=("ghcr.io/us/*",)))
    with pytest.raises(CannotRun) as caught:
        await images.ensure(BUSYBOX, WITHIN)
    assert caught.value.code == "image-not-allowed"


def test_an_image_without_a_registry_is_known_by_its_id() -> None:
    assert digest_of({"Id": "sha256:own", "RepoDigests": []}) == "sha256:own"
