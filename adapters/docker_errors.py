"""The engine's failures in our words: by class and status code, never by the text of a message."""

import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.errors import APIError, DockerException
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from domain.errors import CannotRun, EngineDown, EngineTimeout

ROOM = 8 << 20
"""Bytes: an engine with less on its disk than this fails because of it."""


class EngineErrors:
    """Translates what is raised inside a block. `root`: the engine's data folder, if it is on this machine."""

    def __init__(self, root: str | None = None) -> None:
        self._root = Path(root) if root and Path(root).is_dir() else None

    @contextmanager
    def of(self, call: str, codes: Mapping[int, str], otherwise: str | None = "engine-error") -> Generator[None]:
        """`codes`: CannotRun's code by status code; `otherwise` for the rest. None: asking again may help."""
        try:
            yield
        except APIError as error:
            if otherwise is None and error.is_server_error():
                raise EngineDown(f"{call}: {error.status_code} {error.explanation}"[:1000]) from error
            raise self.refusal(call, error.status_code, error.explanation, codes, otherwise) from error
        except (Timeout, ReadTimeoutError) as error:
            raise EngineTimeout(f"{call}: the container engine did not answer in time") from error
        except NoConnection as error:
            if any(isinstance(part, ReadTimeoutError) for part in error.args):
                raise EngineTimeout(f"{call}: the container engine did not answer in time") from error
            raise EngineDown(f"{call}: no container engine answers ({type(error).__name__})") from error
        except (RequestException, HTTPError, DockerException, OSError) as error:
            raise EngineDown(f"{call}: {type(error).__name__}") from error

    def refusal(
        self, call: str, status: int | None, said: Any, codes: Mapping[int, str], otherwise: str | None
    ) -> CannotRun:
        """The error for a status code; a server's error is the disk's if that is full."""
        code = codes.get(status or 0, otherwise or "engine-error")
        if (status or 500) >= 500 and self._is_full():
            code = "disk-full"
        return CannotRun(code, f"{call}: {said or 'no explanation'}"[:1000])

    def _is_full(self) -> bool:
        return self._root is not None and shutil.disk_usage(self._root).free < ROOM
