"""Objects of Kubernetes as text."""

from __future__ import annotations

from typing import Any

import yaml

Object = dict[str, Any]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and the same object twice rather than a reference to it."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(*objects: Object) -> str:
    """Objects as a stream of YAML documents."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=1000)
