"""Rendering of the overlays, and the schemas to check what came out against."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

K8S = Path(__file__).parent.parent / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())


def kubectl() -> str:
    """Return the path of the kubectl that was installed beside this Python, or of the system's."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise RuntimeError("kubectl is missing: make test-deploy installs it")
    return found


@cache
def render(folder: Path) -> str:
    """Return what `kubectl kustomize` makes of a folder. Raises CalledProcessError."""
    command = [kubectl(), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def manifests(text: str) -> list[Manifest]:
    """Return the objects of a stream of YAML documents."""
    return [item for item in yaml.safe_load_all(text) if item]


def overlay(name: str) -> list[Manifest]:
    """Return the objects of one overlay."""
    return manifests(render(K8S / "overlays" / name))


def title(item: Manifest) -> str:
    """Return `Kind/name`, for messages."""
    return f"{item['kind']}/{item['metadata']['name']}"


@cache
def custom_schemas() -> dict[tuple[str, str], Manifest]:
    """Return the JSON schema of each custom resource by (apiVersion, kind).

    They come from the custom resource definitions in the folder `crds` of `POSTROAD_TEST_CASES`,
    and from `deploy/k8s/schemas`, for those whose definitions are not there.
    """
    found: dict[tuple[str, str], Manifest] = {}
    for path in sorted((K8S / "schemas").glob("*.json")):
        schema = json.loads(path.read_text())
        found[schema["x-api-version"], schema["x-kind"]] = schema
    cases = os.environ.get("POSTROAD_TEST_CASES")
    for path in sorted(Path(cases, "crds").glob("*.yaml")) if cases else []:
        for definition in manifests(path.read_text()):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = _strict(schema)
    return found


def _strict(schema: Any) -> Any:
    """Return the schema with unknown fields refused, as `kubectl apply --validate=strict` does."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = made.get("x-kubernetes-preserve-unknown-fields") or made.get(
        "additionalProperties"
    )
    if made.get("type") == "object" and isinstance(made.get("properties"), dict) and not open_ended:
        metadata = {"apiVersion", "kind", "metadata"} <= set(made["properties"])
        if metadata:
            made["properties"]["metadata"] = {"type": "object"}
        made["additionalProperties"] = False
    return made
