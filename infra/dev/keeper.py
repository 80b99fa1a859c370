"""A small process that holds a few servers for an owner and leaves nothing behind when either ends.

Run as a script that reads its plan, one line of JSON, from stdin:

    {"children": [{"name", "command", "env", "log", "stop", "grace", "ready"}],
     "before": [[command, ...]], "cgroup": "/tally-1a2b" or null, "folder": "/tmp/tally-3c4d" or null,
     "watch_stdin": true}

It starts `children` in order, waits for the path `ready` of each that names one, prints `{"<name>": <pid>}` as one
line, and then waits for the first of: end of file on stdin (the owner is gone, even by kill -9), SIGTERM, SIGINT, or
the end of a child, whose name is its second line. Children are stopped in reverse order by their signal `stop`, after
`grace` seconds by SIGKILL. It is their sub-reaper, so whatever they left running becomes its child and is killed next;
`cgroup` and `folder` are removed last.

A pipe tells about the owner because the kernel's parent-death signal follows the thread that forked, and
owners start servers from short-lived threads. From here to the children that signal is used: one thread only.
"""

import contextlib
import ctypes
import errno
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
SECONDS_TO_DIE = 10
ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int) -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def start(child: dict[str, Any]) -> int:
    """Start one child in its own session; returns its pid."""
    stop = signal.Signals[child["stop"]]
    with open(child["log"], "ab") as log:
        process = subprocess.Popen(
            child["command"],
            env=child["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(stop),  # noqa: PLW1509 - this process has one thread
        )
    process.returncode = 0  # reaped below, with all other children
    return process.pid


def reap() -> tuple[set[int], bool]:
    """Collect the children that ended, own and adopted; returns their pids, and whether any child is left."""
    ended = set[int]()
    while True:
        try:
            pid = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended.add(pid)


def children_now() -> set[int]:
    """Pids of the direct children that have not been reaped.

    One of state Z counts: with several threads it is the first that ended, and others may still run.
    """
    reap()
    me, found = str(os.getpid()), set[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == me:
            found.add(int(stat.parent.name))
    return found


def wait_ready(pid: int, path: str | None, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while path is not None and not os.path.exists(path):
        if pid not in children_now() or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_for_an_end(pids: set[int], watch_stdin: bool, wake: socket.socket) -> set[int]:
    """Those of `pids` that have ended; none if the end was asked for."""
    if gone := pids - children_now():
        return gone
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        if watch_stdin:
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not wake:
                    if not os.read(sys.stdin.fileno(), 1024):
                        return set()
                elif ENDINGS & set(wake.recv(1024)):
                    return set()
                elif gone := pids & reap()[0]:
                    return gone


def stop_all(children: list[tuple[int, dict[str, Any]]]) -> None:
    for pid, child in reversed(children):
        if pid in children_now():
            os.kill(pid, signal.Signals[child["stop"]])
        deadline = time.monotonic() + child["grace"]
        while pid in children_now() and time.monotonic() < deadline:
            time.sleep(0.01)
        if pid in children_now():
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS_TO_DIE
    # Asked of the kernel in one call: a look through /proc may miss one that changes its parent meanwhile.
    while reap()[1] and time.monotonic() < deadline:
        for pid in children_now():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def remove_cgroups(name: str) -> None:
    """Remove the control groups that a container engine leaves.

    What was in them has been reaped, but the kernel may call a group busy for some moments after.
    """
    base = Path("/sys/fs/cgroup")
    tops = [base / name.strip("/"), *(folder / name.strip("/") for folder in base.glob("*"))]
    deadline = time.monotonic() + SECONDS_TO_DIE
    while (busy := [failed for top in tops for failed in remove_tree(top)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for failed in busy:
        print(f"left behind: {failed}", file=sys.stderr)


def remove_tree(top: Path) -> list[OSError]:
    """Remove the control group `top` and those in it, deepest first; returns what is still busy."""
    refused: list[OSError] = []
    for folder, _, files in os.walk(top, topdown=False):
        for file in files:  # real ones only where cgroup2 was hidden, below its mount point
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, file))
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError as failed:
            if failed.errno in {errno.EBUSY, errno.ENOTEMPTY}:
                refused.append(failed)
            else:
                print(f"left behind: {failed}", file=sys.stderr)
    return refused


def remove_folder(folder: str) -> None:
    """Remove a folder of sockets, with what is still mounted in it as this process sees it."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(mounted):
        if place.startswith(f"{folder}/"):
            LIBC.umount2(place.encode(), MNT_DETACH)
    shutil.rmtree(folder, ignore_errors=True)


def tell(names: list[str]) -> None:
    """Print the first of `names`; an owner that has gone does not read it."""
    for name in names[:1]:
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), f"{name}\n".encode())


def note(number: int, frame: FrameType | None) -> None:
    """Signals are read from the wake-up socket; a handler must exist for one to be sent there."""


def read_line(source: int) -> bytes:
    """One line, read byte by byte: a buffer would hide later input, and its end, from the selector."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(source, 1)):
        line += byte
    return line


def main(plan: dict[str, Any]) -> int:
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    for number in (*ENDINGS, signal.SIGCHLD):
        signal.signal(number, note)
    started: list[tuple[int, dict[str, Any]]] = []
    try:
        for command in plan["before"]:
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        for child in plan["children"]:
            started.append((start(child), child))
            if not wait_ready(started[-1][0], child["ready"]):
                return 1
        print(json.dumps({child["name"]: pid for pid, child in started}), flush=True)
        gone = wait_for_an_end({pid for pid, _ in started}, plan["watch_stdin"], wake)
        tell([child["name"] for pid, child in started if pid in gone])
    finally:
        stop_all(started)
        if plan["cgroup"]:
            remove_cgroups(plan["cgroup"])
        if plan["folder"]:
            remove_folder(plan["folder"])
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(read_line(sys.stdin.fileno()))))
