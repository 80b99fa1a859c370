"""YAML as JSON would have it: dates stay the text they are written as, so do words like `on` and `no`, which are truth
values only up to YAML 1.1; and no name is given twice."""

import re
from typing import Any

import yaml

TIMESTAMP, TRUTH = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"
WORDS = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")


class Loader(yaml.SafeLoader):
    """SafeLoader that takes no date for a date, and no word but `true` and `false` for a truth value; it refuses a name
    that stands twice in one mapping."""

    yaml_implicit_resolvers = {
        first: [(tag, WORDS if tag == TRUTH else words) for tag, words in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ValueError."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        seen = set[str]()
        for name in names:
            if name in seen:
                raise ValueError(f"{name}: given twice")
            seen.add(name)
        return super().construct_mapping(node, deep)
