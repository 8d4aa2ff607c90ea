"""What is refused or goes wrong after the apply: by operators, controllers, or a second apply."""

import os
import re
from pathlib import Path

import pytest
from objects import (
    by_kind,
    containers,
    labels,
    names,
    ours,
    selects,
    servers,
    workloads,
)
from rendering import K8S, OVERLAYS, Manifest, manifests, overlay, render, title

from postroad_common.broker import topology
from postroad_stack.plan import SERVICES


def test_disruption_budgets_leave_room(rendered: list[Manifest]) -> None:
    budgets = by_kind(rendered, "PodDisruptionBudget")
    pods = [(labels(item), item["spec"].get("replicas", 2)) for item in workloads(rendered)]
    pods += [(found, count) for _, found, count in servers(rendered)]
    for budget in budgets:
        selector = budget["spec"]["selector"]["matchLabels"]
        (replicas,) = [count for found, count in pods if selects(selector, found)]
        least = budget["spec"].get("minAvailable")
        assert least is None or least < replicas, title(budget)
        assert budget["spec"].get("maxUnavailable") != 0
    wanted = {*SERVICES, *(item["metadata"]["name"] for item, _, _ in servers(rendered))}
    assert {budget["metadata"]["name"] for budget in budgets} == wanted


def test_members_of_a_cluster_are_on_nodes_of_their_own(rendered: list[Manifest]) -> None:
    for item, found, count in servers(rendered):
        assert count == 3
        spec = item["spec"]
        if item["kind"] == "MongoDBCommunity":
            spec = spec["statefulSet"]["spec"]["template"]["spec"]
        (term,) = spec["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert selects(term["labelSelector"]["matchLabels"], found), title(item)
        (wish,) = spec["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        apart = wish["podAffinityTerm"]
        assert apart["topologyKey"] == "topology.kubernetes.io/zone"
        assert apart["labelSelector"] == term["labelSelector"], title(item)


def test_pods_that_an_operator_makes_are_let_in_by_the_namespace(rendered: list[Manifest]) -> None:
    """A namespace of the level `restricted` refuses them one by one, long after the apply."""
    accounts = names(rendered, "ServiceAccount")
    for item in by_kind(rendered, "RabbitmqCluster"):
        spec = item["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        found = {one["name"]: one for one in (*spec["initContainers"], *spec["containers"])}
        assert set(found) == {"setup-container", "rabbitmq"}
        for container in found.values():
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for item in by_kind(rendered, "MongoDBCommunity"):  # its operator does so, from 1.5 on
        spec = item["spec"]["statefulSet"]["spec"]["template"]["spec"]
        assert spec["serviceAccountName"] in accounts
        assert "securityContext" not in spec, "it would replace that of the operator as a whole"


def test_settings_of_the_broker_are_ones_that_every_version_knows(
    rendered: list[Manifest],
) -> None:
    """RabbitMQ does not start with a setting that it does not know; 4.0 and 4.3 know these."""
    for item in by_kind(rendered, "RabbitmqCluster"):
        lines = item["spec"]["rabbitmq"]["additionalConfig"].splitlines()
        used = {line.partition(" =")[0] for line in lines if line and not line.startswith("#")}
        assert used <= {
            "net_ticktime",
            "heartbeat",
            "cluster_partition_handling",
            "queue_leader_locator",
            "disk_free_limit.absolute",
            "vm_memory_high_watermark.relative",
        }


def test_volume_that_comes_again_is_left_as_it_is(rendered: list[Manifest]) -> None:
    """Else its files are opened to the group: RabbitMQ does not start with such a cookie."""
    for item in by_kind(rendered, "StatefulSet"):
        context = item["spec"]["template"]["spec"]["securityContext"]
        assert context["fsGroup"] > 0
        assert context["fsGroupChangePolicy"] == "OnRootMismatch", title(item)


def test_rights_are_bound_to_accounts_and_roles_that_are_there(rendered: list[Manifest]) -> None:
    for item in by_kind(rendered, "RoleBinding"):
        assert item["roleRef"]["name"] in names(rendered, item["roleRef"]["kind"])
        for subject in item["subjects"]:
            assert subject["name"] in names(rendered, subject["kind"])
            assert subject["namespace"] == item["metadata"]["namespace"], title(item)


def test_policies_name_ports_that_their_pods_have(rendered: list[Manifest]) -> None:
    """A port by a name that no pod has lets nothing through, without a word."""
    for item in by_kind(rendered, "NetworkPolicy"):
        for rule in item["spec"].get("ingress", []):
            named = {
                port["port"] for port in rule.get("ports", []) if isinstance(port["port"], str)
            }
            selected = [one for one in workloads(rendered) if _is_meant(item, labels(one))]
            for workload in selected if named else ():
                ports = {port["name"] for one in containers(workload) for port in one["ports"]}
                assert named <= ports, f"{title(item)} {title(workload)}"


def _is_meant(policy: Manifest, found: dict[str, str]) -> bool:
    selector = policy["spec"]["podSelector"]
    listed = selector.get("matchExpressions", [])
    return selects(selector.get("matchLabels", {}), found) and all(
        found.get(each["key"]) in each["values"] for each in listed
    )


def test_nothing_scales_a_workload_twice(rendered: list[Manifest]) -> None:
    targets = [
        (item["spec"]["scaleTargetRef"]["kind"], item["spec"]["scaleTargetRef"]["name"])
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for item in by_kind(rendered, kind)
    ]
    assert len(targets) == len(set(targets))


def test_selectors_are_those_of_the_first_release(rendered: list[Manifest]) -> None:
    """They cannot be changed: an apply of others is refused until the workload is deleted."""
    for name, item in ours(rendered).items():
        assert item["spec"]["selector"] == {
            "matchLabels": {
                "app.kubernetes.io/name": name,
                "app.kubernetes.io/part-of": "postroad",
            }
        }


@pytest.mark.parametrize("name", OVERLAYS)
def test_names_of_pods_leave_room_for_what_controllers_add(name: str) -> None:
    for item in overlay(name):
        if item["kind"] == "StatefulSet":  # a label holds its name, a dash and the revision
            assert len(item["metadata"]["name"]) <= 52
        if item["kind"] in ("Deployment", "Job"):
            assert len(item["metadata"]["name"]) <= 63 - len("-0123456789-abcde")


def test_bare_cluster_takes_the_base_and_the_developers_overlay(tmp_path: Path) -> None:
    """Neither needs a custom resource, so both can be applied before any operator."""
    lines = ["resources:", f"  - {os.path.relpath(K8S / 'base', tmp_path)}"]
    (tmp_path / "kustomization.yaml").write_text("\n".join(lines))
    for item in [*manifests(render(tmp_path)), *overlay("dev")]:
        group = item["apiVersion"].rpartition("/")[0]
        assert "." not in group or group.endswith(".k8s.io"), title(item)


def test_scaling_has_bounds_and_a_target(rendered: list[Manifest]) -> None:
    targets = {title(item): item for item in workloads(rendered)}
    for item in by_kind(rendered, "ScaledObject"):
        spec = item["spec"]
        assert spec["minReplicaCount"] <= spec["maxReplicaCount"]
        target = targets[f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}"]
        assert "replicas" not in target["spec"], "an apply would put the number back"
        if item["metadata"]["name"] == "sender":
            assert spec["maxReplicaCount"] <= topology.SHARDS


def test_nothing_is_scaled_down_because_prometheus_is_away(rendered: list[Manifest]) -> None:
    """A `fallback` would set its number, however many work at that moment; no value would be 0."""
    for item in by_kind(rendered, "ScaledObject"):
        assert "fallback" not in item["spec"], title(item)
        for trigger in item["spec"]["triggers"]:
            metadata = trigger["metadata"]
            assert trigger["type"] == "cpu" or metadata["ignoreNullValues"] == "false"


def test_scaling_asks_for_queues_that_exist(rendered: list[Manifest]) -> None:
    queues = {queue.name for queue in topology.QUEUES}
    for item in by_kind(rendered, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            patterns = re.findall(r'queue=~"([^"]+)"', trigger["metadata"].get("query", ""))
            for pattern in patterns:
                assert any(re.fullmatch(pattern, queue) for queue in queues), pattern
            assert trigger["type"] == "cpu" or patterns


def test_budgets_say_one_thing(rendered: list[Manifest]) -> None:
    for budget in by_kind(rendered, "PodDisruptionBudget"):
        assert len({"minAvailable", "maxUnavailable"} & set(budget["spec"])) == 1, title(budget)
