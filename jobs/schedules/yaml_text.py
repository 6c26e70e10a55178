"""Writes Kubernetes objects as YAML."""

from __future__ import annotations

from typing import Any

import yaml

Object = dict[str, Any]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and objects that occur twice in full, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never write aliases."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(*objects: Object) -> str:
    """Write objects as a stream of YAML documents."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=1000)
