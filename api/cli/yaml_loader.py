"""YAML as JSON would have it: dates stay the text they are written as, and no name is given twice."""

from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """SafeLoader that takes no date for a date, and refuses a name that stands twice in one mapping."""

    yaml_implicit_resolvers = {
        first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
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
