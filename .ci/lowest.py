"""Print the floor of every dependency in pyproject.toml as a constraint for pip: NAME==VERSION."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKERS = ("mypy", "ruff")  # they do not run there
project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]:
    found = re.match(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", requirement)
    if found and found[1] not in CHECKERS:
        print(f"{found[1]}=={found[2]}")
