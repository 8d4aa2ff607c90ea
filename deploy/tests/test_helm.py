"""The chart makes the same objects as kustomize, and refuses values that cannot be right."""

import copy
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import helm
import pytest
from rendering import K8S, Manifest, manifests, overlay, render

CHOICES = {
    "rabbitmq-cluster-operator": "rabbitmqClusterOperator",
    "mongodb-operator": "mongodbOperator",
    "external-secrets": "externalSecrets",
    "cert-manager": "certManager",
    "network-policies": "networkPolicies",
    "proxy-protocol": "proxyProtocol",
    "keda": "keda",
    "monitoring": "monitoring",
}
WITHOUT = {
    "dev-servers": "for a cluster of a developer; the overlay dev has it",
    "self-signed": "for a cluster of a developer; the overlay dev has it",
    "source-ips": "a pattern to be adapted to the nodes there are",
}
"""Components that the chart does not have, and why."""


@pytest.fixture(scope="module", autouse=True)
def has_helm() -> None:
    try:
        helm.program()
    except helm.NoHelmError as error:
        pytest.skip(str(error))


def comparable(items: Sequence[Manifest]) -> dict[str, Any]:
    """Return the objects by kind and name, with the hash in the name of the settings taken out."""
    found: dict[str, Any] = {}
    for item in items:
        if item["kind"] == "Namespace":
            continue  # `helm install --create-namespace`
        made = _without_hash(item)
        metadata = made["metadata"]
        key = f"{made['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        assert key not in found, f"{key} is there twice"
        found[key] = made
    return found


def _without_hash(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_hash(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_hash(each) for each in value]
    if value == "broker-rights-1":  # a job of each revision
        return "broker-rights"
    is_settings = isinstance(value, str) and value.startswith("postroad-") and len(value) == 19
    return "postroad-HASH" if is_settings else value


def kustomized(components: Sequence[str], namespace: str, folder: Path) -> list[Manifest]:
    """Return what kustomize makes of the base with these components."""
    names = [f"  - {os.path.relpath(K8S / 'components' / name, folder)}" for name in components]
    lines = [f"namespace: {namespace}", "resources:"]
    lines += [f"  - {os.path.relpath(K8S / 'base', folder)}", "components:", *names]
    (folder / "kustomization.yaml").write_text("\n".join(lines))
    return manifests(render(folder))


def test_the_templates_are_up_to_date() -> None:
    command = [sys.executable, str(helm.CHART.parent / "generate"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_has_every_component_or_says_why_not() -> None:
    assert {path.name for path in (K8S / "components").iterdir()} == set(CHOICES) | set(WITHOUT)


def test_the_example_is_the_production_overlay(tmp_path: Path) -> None:
    mine = comparable(helm.template(helm.example(), "postroad", tmp_path))
    assert mine == comparable(overlay("prod"))


@pytest.mark.parametrize("component", [None, *CHOICES])
def test_each_choice_alone_is_the_base_with_that_component(
    component: str | None, tmp_path: Path
) -> None:
    values = helm.example()
    values["settings"].pop("POSTROAD_TRUSTED_PROXIES")
    for folder, choice in CHOICES.items():
        values[choice]["enabled"] = folder == component
    components = [] if component is None else [component]
    mine = comparable(helm.template(values, "elsewhere", tmp_path))
    other = comparable(kustomized(components, "elsewhere", tmp_path))
    # The base has no names of an installation; the chart insists on them.
    for made in mine.values():
        if made["kind"] == "ConfigMap":
            made["data"] = {k: v for k, v in made["data"].items() if k not in values["settings"]}
    assert mine == other


def test_values_reach_the_objects(tmp_path: Path) -> None:
    values = helm.example()
    values["keda"]["enabled"] = False
    values["image"] = {"registry": "registry.test/mail", "tag": "1.2.3", "pullPolicy": "Always"}
    values["listeners"] = {"type": "ClusterIP", "tlsSecretName": "my-tls"}
    values["services"] = {
        "sender": {"replicas": 5, "secretName": "keys", "spool": {"storageClassName": "fast"}}
    }
    found = comparable(helm.template(values, "x", tmp_path))
    sender = found["StatefulSet x/sender"]["spec"]
    assert sender["replicas"] == 5
    assert sender["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    pod = sender["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.test/mail/postroad/sender:1.2.3"
    assert pod["containers"][0]["imagePullPolicy"] == "Always"
    assert (
        next(v["secret"] for v in pod["volumes"] if v["name"] == "secrets")["secretName"] == "keys"
    )
    submission = found["Service x/submission"]["spec"]
    assert submission["type"] == "ClusterIP"
    assert "externalTrafficPolicy" not in submission
    assert found["Certificate x/ingress-smtp"]["spec"]["secretName"] == "my-tls"


def test_other_settings_give_the_config_map_another_name(tmp_path: Path) -> None:
    def name(values: dict[str, Any]) -> str:
        (found,) = [
            item["metadata"]["name"]
            for item in helm.template(values, "x", tmp_path)
            if item["kind"] == "ConfigMap"
        ]
        return str(found)

    values = helm.example()
    other = copy.deepcopy(values)
    other["settings"]["POSTROAD_LOG_LEVEL"] = "debug"
    assert name(values) == name(copy.deepcopy(values)) != name(other)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("settings", "POSTROAD_HOSTNAM"), "mail.example.com", "POSTROAD_HOSTNAM"),
        (("settings", "POSTROAD_SECRET"), "in the open", "POSTROAD_SECRET"),
        (("settings", "POSTROAD_MAX_RECIPIENTS"), 100, "POSTROAD_MAX_RECIPIENTS"),
        (("settings", "POSTROAD_HOSTNAME"), None, "POSTROAD_HOSTNAME"),
        (("services", "sender", "replicas"), 9, "replicas"),
        (("services", "receiver"), {}, "receiver"),
        (("listeners", "type"), "Public", "type"),
        (("proxyProtocol", "networks"), [], "networks"),
        (("certManager", "dnsNames"), [], "dnsNames"),
        (("monitorin",), {"enabled": True}, "monitorin"),
    ],
)
def test_values_that_cannot_be_right_are_refused(
    path: tuple[str, ...], value: object, says: str, tmp_path: Path
) -> None:
    values = helm.example()
    place = values
    for part in path[:-1]:
        place = place.setdefault(part, {})
    place[path[-1]] = value
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm.template(values, "x", tmp_path)
    assert says in refused.value.stderr


def test_helm_has_nothing_to_complain_of() -> None:
    helm.run("lint", "--strict", "--values", str(helm.EXAMPLE), str(helm.CHART))
