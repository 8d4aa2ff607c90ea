"""Every rendered object against the schemas of several Kubernetes versions and of its operator."""

import os
import re
import subprocess
import warnings
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from rendering import K8S, OVERLAYS, Manifest, custom_schemas, overlay, render, title

VERSIONS = ("1.31", "1.34", "1.37")
GOLDEN = Path(__file__).parent / "golden"
_BUILT_IN = re.compile(r"^(v1|[a-z]+/v\d\w*|[a-z.]+\.k8s\.io/v\d\w*)$")


def _is_custom(item: Manifest) -> bool:
    return not _BUILT_IN.match(item["apiVersion"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_objects_fit_the_schemas_of_kubernetes(name: str, version: str) -> None:
    for item in overlay(name):
        if not _is_custom(item):
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a missing schema is a failure
                kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_custom_resources_fit_the_schemas_of_their_operators(name: str) -> None:
    missing = set()
    for item in filter(_is_custom, overlay(name)):
        schema = custom_schemas().get((item["apiVersion"], item["kind"]))
        if schema is None:
            missing.add(f"{item['apiVersion']} {item['kind']}")
            continue
        errors = jsonschema.Draft202012Validator(schema).iter_errors(item)
        found = [f"{title(item)} {error.json_path}: {error.message}" for error in errors]
        assert not found, "\n".join(found)
    if missing and not os.environ.get("POSTROAD_TEST_CASES"):
        pytest.skip(f"no schema for {', '.join(sorted(missing))}: POSTROAD_TEST_CASES is not set")
    assert not missing, f"no schema for {', '.join(sorted(missing))}"


def test_unknown_field_of_a_custom_resource_is_found() -> None:
    for schema in custom_schemas().values():
        if schema["x-kind" if "x-kind" in schema else "type"] in ("ExternalSecret", "object"):
            item = {"apiVersion": "v", "kind": "K", "metadata": {}, "specc": {}}
            assert list(jsonschema.Draft202012Validator(schema).iter_errors(item))


@pytest.mark.parametrize("name", OVERLAYS)
def test_rendered_overlay_is_the_one_that_was_read(name: str) -> None:
    """Read the difference; if it is meant, `UPDATE_GOLDEN=1 make test-deploy` takes it."""
    path = GOLDEN / f"{name}.yaml"
    rendered = render(K8S / "overlays" / name)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert rendered == path.read_text()


@pytest.mark.parametrize("path", sorted((K8S / "components").iterdir()), ids=lambda path: path.name)
def test_component_renders_on_the_base(path: Path, tmp_path: Path) -> None:
    # network-policies is what proxy-protocol patches; nothing else needs another component.
    components = [path]
    if path.name == "proxy-protocol":
        components.insert(0, path.parent / "network-policies")
    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "resources:"]
    lines += [f"  - {os.path.relpath(K8S / 'base', tmp_path)}", "components:"]
    lines += [f"  - {os.path.relpath(component, tmp_path)}" for component in components]
    (tmp_path / "kustomization.yaml").write_text("\n".join(lines))
    try:
        assert render(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr)
