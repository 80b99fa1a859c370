"""What a worker knows of its host: how long it is up, and how busy it is."""

import os
import shutil
import time

from domain.ports.running import HostLoad


def boot_clock() -> float:
    """Seconds since the machine booted, sleep included (Linux; elsewhere without)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def host_load() -> HostLoad:
    """The load of the last minute per core, memory not available, and the fullness of the root disk."""
    cores = os.cpu_count() or 1
    disk = shutil.disk_usage("/")
    return HostLoad(cpu=min(os.getloadavg()[0] / cores, 1.0), memory=_memory(), disk=disk.used / disk.total)


def _memory() -> float | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
        return 1.0 - fields["MemAvailable"] / fields["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        return None
