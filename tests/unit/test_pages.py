"""The pages that people read: no code block that nothing runs, and all that they name exists."""

import re
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from standardwebhooks import Webhook

import domain
from adapters.webhooks import parse, payload
from domain.notifying import Notification
from domain.ports.authorising import SCOPES
from infra.processes.notifier import webhook
from infra.settings import Settings, fields, load
from tests.support.ended_tasks import TASK, failed, stored
from tests.support.pages import ROOT, blocks, written

README, MACHINE = "README.md", "docs/how-to/bare-machine.md"
AUTHENTICATION, NOTIFICATIONS = "docs/how-to/authentication.md", "docs/how-to/notifications.md"
DEPENDENCIES = "docs/how-to/dependencies.md"
RETRIES = "docs/how-to/retries.md"
TIMES = "docs/how-to/times.md"
PAUSING = "docs/how-to/pausing.md"
SCHEDULES = "docs/how-to/schedules.md"
LIMITS = "docs/how-to/limits.md"
TYPES = "docs/how-to/task-types.md"
RESULTS = "docs/how-to/results.md"
DRAINING = "docs/how-to/draining.md"
RUN_AGAIN = "docs/how-to/run-again.md"
EXPLAIN = "docs/how-to/explain.md"
CACHING = "docs/how-to/caching.md"
FAN_OUT = "docs/how-to/fan-out.md"
RUN = {
    (README, "console"): (1, "tests/e2e/test_readme.py"),
    (README, "sh"): (6, "tests/e2e/test_readme.py"),
    (README, "python"): (1, "tests/e2e/test_readme.py"),
    (AUTHENTICATION, "sh"): (1, "tests/e2e/test_readme.py"),
    (AUTHENTICATION, "toml"): (1, "tests/unit/test_pages.py"),
    (RETRIES, "sh"): (3, "tests/e2e/test_readme.py"),
    (RESULTS, "sh"): (1, "tests/e2e/test_readme.py"),
    (TIMES, "sh"): (1, "tests/e2e/test_readme.py"),
    (PAUSING, "sh"): (1, "tests/e2e/test_readme.py"),
    (SCHEDULES, "sh"): (2, "tests/e2e/test_readme.py"),
    (LIMITS, "sh"): (2, "tests/e2e/test_readme.py"),
    (DRAINING, "sh"): (1, "tests/e2e/test_readme.py"),
    (DRAINING, "text"): (1, "tests/e2e/test_readme.py"),
    (FAN_OUT, "sh"): (2, "tests/e2e/test_readme.py"),
    (RUN_AGAIN, "sh"): (3, "tests/e2e/test_readme.py"),
    (CACHING, "sh"): (2, "tests/e2e/test_readme.py"),
    (CACHING, "text"): (1, "tests/e2e/test_readme.py"),
    (EXPLAIN, "sh"): (2, "tests/e2e/test_readme.py"),
    (EXPLAIN, "text"): (1, "tests/e2e/test_readme.py"),
    (TYPES, "sh"): (2, "tests/e2e/test_readme.py"),
    (DEPENDENCIES, "sh"): (5, "tests/e2e/test_readme.py"),
    (DEPENDENCIES, "python"): (1, "tests/e2e/test_readme.py"),
    (MACHINE, "sh"): (2, "tests/e2e/test_bare_machine.py"),
    (NOTIFICATIONS, "toml"): (1, "tests/unit/test_pages.py"),
    (NOTIFICATIONS, "text"): (1, "tests/unit/test_pages.py"),
}
"""(page, kind) -> how many blocks there are, and the tests that run them."""
PICTURES = {(README, "text"): 2, ("docs/explanation/architecture.md", "text"): 1}
"""What nobody types."""


def named(pattern: str, folder: str = "") -> set[str]:
    """What the pages below `folder` name in this form: the first group of each match."""
    pages = [page for page in written() if page.startswith(folder)]
    found = {name for page in pages for name in re.findall(pattern, (ROOT / page).read_text())}
    assert found, pattern
    return found


def loaded(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the `tally.toml` of a page gives."""
    [block] = blocks(page, "toml")
    (folder / "tally.toml").write_text(block.text)
    monkeypatch.setenv("TALLY_CONFIG", str(folder / "tally.toml"))
    return load()


def test_every_block_is_run_or_is_a_picture() -> None:
    there: dict[tuple[str, str], int] = {}
    for page in written():
        for block in blocks(page):
            there[page, block.kind] = there.get((page, block.kind), 0) + 1

    assert there == PICTURES | {block: count for block, (count, _) in RUN.items()}


@pytest.mark.parametrize(("page", "tests"), sorted({(page, tests) for (page, _), (_, tests) in RUN.items()}))
def test_the_tests_that_run_a_page_s_blocks_read_that_page(page: str, tests: str) -> None:
    assert f'"{page}"' in (ROOT / tests).read_text()


def test_what_the_pages_type_are_commands_of_the_program() -> None:
    known = set(re.findall(r"^## tally (\S+)$", (ROOT / "docs/reference/cli.md").read_text(), re.MULTILINE))
    typed = {
        (page, word)
        for page in written()
        for block in blocks(page, "sh")
        for word in re.findall(r"(?:^|[|(&;!]|\bdo|\buntil) *tally ([a-z-]+)", block.text, re.MULTILINE)
    }

    assert {(page, word) for page, word in typed if word not in known} == set()
    assert len(typed) > 50


def test_the_settings_that_open_the_api_are_read_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = loaded(AUTHENTICATION, tmp_path, monkeypatch).auth

    assert (auth.required_issuer(), auth.audience) == ("https://id.example.org/realms/ops", "tallyport")
    assert auth.profile == "keycloak"


def test_the_scopes_are_those_of_the_page() -> None:
    [row] = [line for line in (ROOT / AUTHENTICATION).read_text().splitlines() if line.startswith("| scopes |")]

    assert tuple(re.findall(r"`(.+?)`", row)) == SCOPES


async def test_the_channel_of_the_page_can_be_sent_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notify = loaded(NOTIFICATIONS, tmp_path, monkeypatch).notify
    [(name, channel)] = notify.channels.items()

    async with httpx2.AsyncClient() as client:
        made = webhook(name, channel, client, notify.allow_private)

    assert parse(made.url, made.allow_private).host == "hooks.example.org"
    assert channel.on == ("task.failed.v1",)


def test_the_webhook_of_the_page_is_what_a_receiver_gets_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = blocks(NOTIFICATIONS, "text")
    head, body = block.text.rstrip("\n").split("\n\n")
    headers = dict(re.findall(r"^([\w-]+): (\S+)", head, re.MULTILINE))
    event = stored(failed(TASK)[-1], event_id=UUID(headers["webhook-id"]))
    secret = loaded(NOTIFICATIONS, tmp_path, monkeypatch).notify.channels["ops"].secret
    assert secret is not None

    assert body.encode() == payload(Notification(event, "ops"))
    assert int(headers["webhook-timestamp"]) == event.recorded_at.timestamp()
    signed = Webhook(secret.get_secret_value()).sign(headers["webhook-id"], event.recorded_at, body)
    assert headers["webhook-signature"] == signed


def test_every_setting_that_a_how_to_names_is_one() -> None:
    groups = {key.partition(".")[0] for key, _ in fields()}
    dotted = named(r"`([a-z]+\.[a-z_]+)(?: = [^`]*)?`", "docs/how-to/")
    keys = {key for key in dotted if key.partition(".")[0] in groups}

    assert "auth.leeway" in keys
    assert keys - {key for key, _ in fields()} == set()


def test_every_file_that_a_page_names_is_there() -> None:
    files = named(r"`((?:domain|consumers|adapters|api|infra|tests|docs|\.ci)/[\w./-]*)")

    assert {file for file in files if not (ROOT / file).exists()} == set()


def test_every_link_leads_somewhere() -> None:
    links = {
        (page, link) for page in written() for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", (ROOT / page).read_text())
    }

    assert links
    assert {(page, link) for page, link in links if not ((ROOT / page).parent / link).exists()} == set()


def test_every_page_is_reached_from_the_readme() -> None:
    reached, look = set[Path](), [ROOT / README]
    while look:
        page = look.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()) if page.suffix == ".md" else []
            found = [(page.parent / link).resolve() for link in links]
            look += [file for target in found for file in (target.iterdir() if target.is_dir() else [target])]

    pages = {ROOT / page for page in written()} | set((ROOT / "docs/reference").glob("*.*"))
    assert pages - reached == set()


def test_the_order_in_which_to_read_the_domain_names_every_module() -> None:
    modules = {file.stem for file in (ROOT / "domain").iterdir() if file.suffix == ".py"} - {"__init__"}

    assert set(re.findall(r"`([a-z_]+)`", domain.__doc__ or "")) == modules | {"ports"}


def test_every_target_and_variable_that_a_page_names_is_one() -> None:
    make = (ROOT / "Makefile").read_text()
    code = "\n".join(file.read_text() for file in (*ROOT.glob("infra/**/*.py"), *ROOT.glob("tests/**/*.py")))
    code += (ROOT / "compose.yaml").read_text()
    variables = {name for name in named(r"\b(TALLY_[A-Z_]+)") if "__" not in name}

    assert {target for target in named(r"\bmake ([a-z]+)") if f"\n{target}:" not in make} == set()
    assert {name for name in variables if name not in code} == set()


def test_every_command_and_option_that_a_page_names_is_one() -> None:
    cli = (ROOT / "docs/reference/cli.md").read_text()
    lines = named(r"`tally ((?:[a-z]+)(?: [^`]*)?)`")
    words = {line.split()[0] for line in lines}
    options = {(line.split()[0], option) for line in lines for option in re.findall(r"--[a-z-]+", line)}

    assert {word for word in words if f"\n## tally {word}\n" not in cli} == set()
    assert ("events", "--type") in options
    for word, option in options:
        section = cli.split(f"\n## tally {word}\n")[1].split("\n## ")[0]
        assert f"`{option}" in section, (word, option)
