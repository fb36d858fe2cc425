"""Print what an installed distribution requires, without the distributions that are named after it."""

import sys
from importlib.metadata import requires

from pip._vendor.packaging.requirements import Requirement

name, *skipped = sys.argv[1:]
for text in requires(name) or []:
    requirement = Requirement(text)
    asked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if asked and requirement.name.lower() not in skipped:
        requirement.marker = None
        print(requirement)
