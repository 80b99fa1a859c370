"""`python3 -m infra.dev COMMAND`: what the Makefile calls. Standard library only."""

import argparse
import sys
import time

from infra.dev import fetch, venv
from infra.dev.errors import DevError


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m infra.dev", description=__doc__)
    parser.add_argument("command", choices=("venv", "fetch", "images", "up", "down", "status"))
    command = parser.parse_args(arguments).command
    began = time.monotonic()
    try:
        return run(command)
    except DevError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    finally:
        if (took := time.monotonic() - began) > 1:
            print(f"{command}: {took:.1f} s", file=sys.stderr)


def run(command: str) -> int:
    if command == "venv":
        venv.ensure()
        return 0
    if command == "fetch":
        fetch.everything()
        return 0
    if command == "images":
        from infra.dev import server_images

        print("\n".join(server_images.make_here()))
        return 0
    from infra.dev import stack

    commands = {"up": stack.up_and_say, "down": stack.down_and_say, "status": stack.status}
    return commands[command]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
