"""Health of a process without a port of its own: `python -m infra.deploy.connected PORT...`.

Ends with 0 if this container holds an established TCP connection to each remote port, else with 1.
"""

import sys
from pathlib import Path

ESTABLISHED = "01"


def connected_ports(*tables: str) -> set[int]:
    """Remote ports of the established connections that the kernel lists in `tables`."""
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[3] == ESTABLISHED}


def main(ports: list[str]) -> int:
    tables = [path.read_text() for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    missing = set(map(int, ports)) - connected_ports(*tables)
    if missing:
        print(f"no connection to port {', '.join(map(str, sorted(missing)))}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
