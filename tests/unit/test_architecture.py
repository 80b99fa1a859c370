"""The rules of the house that a linter does not know."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "adapters", "consumers", "api", "infra")
ALLOWED_IN_DOMAIN = {"domain", "pydantic", "cronsim", "jsonschema_rs"} | sys.stdlib_module_names
LONGEST_FILE = 300
LONGEST_FUNCTION = 50


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_domain_stands_on_the_standard_library_pydantic_cronsim_and_jsonschema_rs_alone() -> None:
    strangers = {
        (str(path.relative_to(ROOT)), name)
        for path in sources("domain")
        for name in imported(path)
        if name not in ALLOWED_IN_DOMAIN
    }
    assert strangers == set()


def test_no_installed_distribution_ships_one_of_our_names() -> None:
    shipped = {name: set(packages_distributions().get(name, ())) - {"tallyport"} for name in PACKAGES}
    assert shipped == {name: set() for name in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_test_folder_would_be_imported_as_one_of_the_packages(package: str) -> None:
    assert not (ROOT / "tests" / package).exists()


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    long = {str(path.relative_to(ROOT)): lines for path in sources(*PACKAGES) if (lines := count(path)) > LONGEST_FILE}
    assert long == {}


def test_no_function_is_longer_than_fifty_lines() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in sources(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    }
    assert long == set()


def count(path: Path) -> int:
    return path.read_text().count("\n")
