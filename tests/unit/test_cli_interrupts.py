"""Ctrl-C ends a command line, whatever it is busy with."""

import signal
import subprocess
import sys

HOLDS_ON = """
import threading
from infra.main import leave_when_interrupted
leave_when_interrupted(within=0.2)
try:
    print("up", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    print("asked", flush=True)
    threading.Event().wait()
"""


def test_what_holds_on_after_ctrl_c_is_ended_as_interrupted() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS_ON], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)

    assert (out, running.returncode) == ("asked\n", 130)
