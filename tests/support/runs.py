"""Ids, specs and programs that the tests of the worker's flow share."""

from datetime import timedelta
from uuid import UUID, uuid4

from adapters.in_memory.containers import Program
from domain.ids import derived_id
from domain.ports.running import Output, Planned, RunLabels
from domain.specs import Container

INSTALLATION = UUID("0192d3a0-0000-7000-8000-000000000001")
TASK = UUID("0192d3a1-0000-7000-8000-00000000000a")
RUN = derived_id(TASK, "run:1")
BUSYBOX = "tallyport/busybox:dev"

TRUE = ("true",)
SPEAK = ("sh", "-c", "echo out; echo err >&2; exit 3")
SLEEP = ("sleep", "600")
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
POLITE = ("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
RESULT = ("sh", "-c", """echo '{"rows": 3}' > /tally/result.json""")
LARGE_RESULT = ("sh", "-c", "head -c 70000 /dev/zero > /tally/result.json")
SHOW_INPUT = ("cat", "/tally/input.json")
SHOW_INPUT_AS = ("sh", "-c", "id -u; cat /tally/input.json")
HUNGRY = ("sh", "-c", "head -c 100m /dev/zero | tail")
MISSING = ("no-such-program",)

PROGRAMS: dict[tuple[str, ...], Program] = {
    TRUE: Program(),
    SPEAK: Program(prints=(Output("stdout", b"out\n"), Output("stderr", b"err\n")), exit_code=3),
    SLEEP: Program(waits=True, on_term=None),
    STUBBORN: Program(prints=(Output("stdout", b"ready\n"),), waits=True, on_term=None),
    POLITE: Program(prints=(Output("stdout", b"ready\n"),), waits=True, on_term=9),
    RESULT: Program(files={"/tally/result.json": b'{"rows": 3}\n'}),
    LARGE_RESULT: Program(files={"/tally/result.json": bytes(70_000)}),
    SHOW_INPUT: Program(prints=(Output("stdout", b'{"day":"Monday"}'),)),
    SHOW_INPUT_AS: Program(prints=(Output("stdout", b'65534\n{"day":"Monday"}'),)),
    HUNGRY: Program(exit_code=137, oom_killed=True),
}


def planned(
    command: tuple[str, ...],
    worker: str = "w1",
    run: UUID = RUN,
    fence: int = 1,
    image: str = BUSYBOX,
    result: str | None = None,
    memory: str | None = None,
    network: str = "none",
    artifacts: str | None = None,
    input: bytes | None = None,
) -> Planned:
    """A container of this command, labelled as `worker`'s."""
    labels = RunLabels(
        INSTALLATION,
        worker,
        1,
        "default",
        TASK,
        run,
        fence,
        "hello",
        timedelta(seconds=10),
        result=result,
        artifacts=artifacts,
    )
    container = Container(
        image=image, command=command, result=result, memory=memory, network=network, artifacts=artifacts
    )
    return Planned(labels, container, {"TALLY_RUN_ID": str(run)}, input)


def fresh_run() -> UUID:
    """A run of its own, for tests that share an engine."""
    return derived_id(TASK, f"run:{uuid4()}")


def nothing_against_it() -> None:
    """The last look before a start that may be made."""
