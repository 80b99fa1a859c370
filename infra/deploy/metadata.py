"""Writes the distribution's metadata beside the sources: `python -m infra.deploy.metadata pyproject.toml FOLDER`.

The image holds the packages as they are; this gives `importlib.metadata` the name, version and entry points that an
installed wheel would, without a build back end in the image.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any


def files(project: dict[str, Any]) -> dict[str, str]:
    """Name and content of the files of the `.dist-info` folder."""
    scripts = "".join(f"{name} = {target}\n" for name, target in project.get("scripts", {}).items())
    metadata = f"Metadata-Version: 2.3\nName: {project['name']}\nVersion: {project['version']}\n"
    return {"METADATA": metadata, "entry_points.txt": f"[console_scripts]\n{scripts}", "INSTALLER": "image\n"}


def main(pyproject: Path, folder: Path) -> None:
    project = tomllib.loads(pyproject.read_text())["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    for name, content in files(project).items():
        (info / name).write_text(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
