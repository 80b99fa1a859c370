"""`tally serve all`: every process of the platform but the issuer in one, for one machine or the image as it is."""

from importlib import import_module

import structlog

from domain.ports.tracing import Traces
from infra.processes.process import Main, through_outages, together
from infra.settings import Settings

PARTS = ("api", "conductor", "handler", "logkeeper", "messenger", "notifier", "projector", "relay", "worker")


async def main(settings: Settings, traces: Traces) -> None:
    """Side by side, each through its own outages; a failure of one ends all."""

    def part(name: str) -> Main:
        main: Main = import_module(f"infra.processes.{name}").main
        return main

    await together(*(through_outages(part(name), settings, traces, structlog.get_logger(name)) for name in PARTS))
