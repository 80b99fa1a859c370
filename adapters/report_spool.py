"""Finish reports in a folder of the worker's own, one file each."""

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from adapters.threads import Threads
from domain.errors import Unavailable
from domain.reports import FinishReport


class ReportSpool:
    """See `domain.ports.running.Spool`. A file is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._threads = folder, Threads(1, "report spool")

    async def keep(self, reports: Sequence[FinishReport]) -> None:
        with self._on_disk():
            await self._threads.call(self._keep, reports)

    async def drop(self, ids: Sequence[UUID]) -> None:
        with self._on_disk():
            await self._threads.call(self._drop, ids)

    async def load(self) -> Sequence[FinishReport]:
        return await self._threads.call(self._load)

    @contextlib.contextmanager
    def _on_disk(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"report spool {self._folder}: {error.strerror or error}") from error

    def _keep(self, reports: Sequence[FinishReport]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for report in reports:
            whole = self._file(report.id)
            part = whole.with_suffix(".part")
            with part.open("wb") as file:
                file.write(report.model_dump_json(exclude_none=True).encode())
                file.flush()
                os.fsync(file.fileno())
            part.rename(whole)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _drop(self, ids: Sequence[UUID]) -> None:
        for known in ids:
            self._file(known).unlink(missing_ok=True)

    def _load(self) -> list[FinishReport]:
        """The reports, the oldest first; a file that cannot be read is left where it is."""
        reports: list[FinishReport] = []
        for file in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(ValidationError):
                reports.append(FinishReport.model_validate_json(file.read_bytes()))
        return reports

    def _file(self, id: UUID) -> Path:
        return self._folder / f"{id}.json"
