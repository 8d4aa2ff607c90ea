"""What no schema says and the API server, the scheduler or our services refuse all the same."""

import importlib
import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from objects import (
    by_kind,
    containers,
    labels,
    names,
    ours,
    pod,
    secrets_made,
    selects,
    with_pods,
    workloads,
)
from rendering import Manifest, title

from postroad_common.settings_names import KNOWN_SETTINGS
from postroad_common.store.roles import ROLES
from postroad_stack.plan import SERVICES

_LABEL = re.compile(r"^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^(?=.{1,253}$)[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
_LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_QUANTITY = re.compile(r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_HANDLERS = frozenset({"httpGet", "tcpSocket", "exec", "grpc"})
_ONLY_OF_PODS = frozenset({"fsGroup", "fsGroupChangePolicy", "supplementalGroups", "sysctls"})
_ONLY_OF_CONTAINERS = frozenset(
    {"allowPrivilegeEscalation", "capabilities", "privileged", "readOnlyRootFilesystem"}
)
# `true`, `on`, `1e3` and their like: strings to a reader, something else to a YAML parser.
_TEXT_FIELDS = ("env", "data", "stringData", "args", "command", "labels", "annotations")


def test_every_service_is_there(rendered: list[Manifest]) -> None:
    assert set(ours(rendered)) == set(SERVICES)


def test_nothing_is_there_twice(rendered: list[Manifest]) -> None:
    counted = Counter((item["apiVersion"], title(item)) for item in rendered)
    assert [key for key, count in counted.items() if count > 1] == []


def test_names_are_valid(rendered: list[Manifest]) -> None:
    for item in rendered:
        rule = _LABEL if item["kind"] in ("Service", "Namespace") else _SUBDOMAIN
        assert rule.match(item["metadata"]["name"]), title(item)
    for item in with_pods(rendered):
        for container in containers(item):
            assert _LABEL.match(container["name"])
            for port in container.get("ports", []):
                assert len(port["name"]) <= 15
                assert _LABEL.match(port["name"])


def test_everything_is_in_the_namespace_of_the_overlay(rendered: list[Manifest]) -> None:
    (namespace,) = names(rendered, "Namespace")
    for item in rendered:
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == namespace, title(item)


def test_selectors_match_their_own_pods(rendered: list[Manifest]) -> None:
    for item in workloads(rendered):
        selector = item["spec"]["selector"]["matchLabels"]
        matched = [other for other in workloads(rendered) if selects(selector, labels(other))]
        assert matched == [item], title(item)


def test_services_select_one_workload_and_ports_that_it_has(rendered: list[Manifest]) -> None:
    for service in by_kind(rendered, "Service"):
        selected = [
            item
            for item in workloads(rendered)
            if selects(service["spec"]["selector"], labels(item))
        ]
        assert len(selected) == 1, title(service)
        ports = [port for one in containers(selected[0]) for port in one.get("ports", [])]
        known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
        for port in service["spec"]["ports"]:
            assert port.get("targetPort", port["port"]) in known, title(service)


def test_stateful_sets_have_a_headless_service(rendered: list[Manifest]) -> None:
    headless = {
        item["metadata"]["name"]
        for item in by_kind(rendered, "Service")
        if item["spec"].get("clusterIP") == "None"
    }
    for item in by_kind(rendered, "StatefulSet"):
        assert item["spec"]["serviceName"] in headless


def test_port_names_and_numbers_are_unique_in_a_pod(rendered: list[Manifest]) -> None:
    for item in workloads(rendered):
        ports = [port for one in containers(item) for port in one.get("ports", [])]
        for key in ("name", "containerPort"):
            values = [port[key] for port in ports]
            assert len(values) == len(set(values)), title(item)


def test_probes_use_ports_that_are_there(rendered: list[Manifest]) -> None:
    for item in workloads(rendered):
        for container in containers(item):
            known = {port["name"] for port in container.get("ports", [])}
            for key in ("startupProbe", "livenessProbe", "readinessProbe"):
                for action in (container.get(key) or {}).values():
                    if isinstance(action, dict) and "port" in action:
                        assert action["port"] in known, title(item)


def test_mounts_have_volumes_and_volumes_are_mounted(rendered: list[Manifest]) -> None:
    for item in with_pods(rendered):
        volumes = {volume["name"] for volume in pod(item).get("volumes", [])}
        volumes |= {
            claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])
        }
        mounts = {
            mount["name"] for one in containers(item) for mount in one.get("volumeMounts", [])
        }
        assert mounts == volumes, title(item)


def _references(item: Manifest) -> Iterator[tuple[str, str]]:
    for volume in pod(item).get("volumes", []):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        for source in volume.get("projected", {}).get("sources", []):
            yield "Secret", source["secret"]["name"]
    for container in containers(item):
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"]


def test_configuration_and_secrets_that_are_named_exist(rendered: list[Manifest]) -> None:
    known = {"ConfigMap": names(rendered, "ConfigMap"), "Secret": secrets_made(rendered)}
    for item in with_pods(rendered):
        for kind, name in _references(item):
            assert name in known[kind], f"{title(item)} names the {kind} {name}"
    accounts = names(rendered, "ServiceAccount")
    for item in ours(rendered).values():
        assert pod(item)["serviceAccountName"] in accounts
    for database in by_kind(rendered, "MongoDBCommunity"):
        for user in database["spec"]["users"]:
            assert user["passwordSecretRef"]["name"] in known["Secret"]


def test_each_service_has_its_own_role_in_the_database_as_the_code_says(
    rendered: list[Manifest],
) -> None:
    for database in by_kind(rendered, "MongoDBCommunity"):
        made = {role["role"]: role["privileges"] for role in database["spec"]["security"]["roles"]}
        assert made == {name: role.privileges("postroad") for name, role in ROLES.items()}
        given = {user["name"]: user["roles"] for user in database["spec"]["users"]}
        assert given == {name: [{"db": "postroad", "name": name}] for name in SERVICES}


def test_only_ingress_http_has_the_administrators_secrets(rendered: list[Manifest]) -> None:
    holders = {
        item["metadata"]["name"]
        for item in rendered
        if item["kind"] in {"Secret", "ExternalSecret"} and "POSTROAD_ADMIN_" in str(item)
    }
    assert len(holders) == 1
    assert {
        name
        for name, item in ours(rendered).items()
        if holders & {secret for kind, secret in _references(item) if kind == "Secret"}
    } == {"ingress-http"}


def test_every_setting_is_one_that_a_service_knows(rendered: list[Manifest]) -> None:
    known = {f"POSTROAD_{name.upper()}" for name in KNOWN_SETTINGS}
    used: set[str] = set()
    for item in ours(rendered).values():
        for container in containers(item):
            used |= {variable["name"] for variable in container.get("env", [])}
    for item in by_kind(rendered, "ConfigMap"):
        used |= {key for key in item["data"] if key.startswith("POSTROAD_")}
    for item in by_kind(rendered, "Secret"):
        used |= {key for key in item.get("data", {}) if key.startswith("POSTROAD_")}
    for item in by_kind(rendered, "ExternalSecret"):
        keys = {entry["secretKey"] for entry in item["spec"]["data"]}
        used |= {key for key in keys if key.startswith("POSTROAD_")}
    assert used
    assert used <= known


def as_if_mounted(value: str, container: Manifest, root: Path) -> str:
    """Return `value`, or the place of such a file or folder in `root` where it names one."""
    for mount in container.get("volumeMounts", []):
        where = mount["mountPath"]
        if value == where or value.startswith(f"{where}/"):
            place = root / value.lstrip("/")
            if value == where:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            return str(place)
    return value


def test_settings_of_each_service_are_accepted_by_it(
    rendered: list[Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maps = {item["metadata"]["name"]: item["data"] for item in by_kind(rendered, "ConfigMap")}
    secrets = {
        "POSTROAD_AMQP_URL": "amqp://broker/",
        "POSTROAD_MONGODB_URI": "mongodb://db/postroad",
        "POSTROAD_SECRET": "0123456789abcdef",
    }
    for name, item in ours(rendered).items():
        environment = dict(secrets)
        for container in pod(item)["containers"]:
            for source in container.get("envFrom", []):
                environment |= maps[source["configMapRef"]["name"]]
            environment |= {one["name"]: one["value"] for one in container.get("env", [])}
            environment = {
                key: as_if_mounted(value, container, tmp_path) for key, value in environment.items()
            }
        environment.pop("POSTROAD_SECRETS_DIR")
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            module = importlib.import_module(f"postroad_{name.replace('-', '_')}.settings")
            settings = module.Settings()
        assert settings.bind == "0.0.0.0"
        # Kubernetes kills later than the service gives up by itself.
        before = pod(item)["terminationGracePeriodSeconds"]
        assert settings.grace_seconds + 5 < before


def test_pods_are_restricted(rendered: list[Manifest]) -> None:
    for item in with_pods(rendered):
        spec = pod(item)
        assert spec["automountServiceAccountToken"] is False, title(item)
        assert spec["enableServiceLinks"] is False, title(item)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(item):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
    for item in ours(rendered).values():
        for container in containers(item):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_what_is_mounted_of_a_secret_is_in_it(rendered: list[Manifest]) -> None:
    held = {
        item["spec"]["target"]["name"]: {entry["secretKey"] for entry in item["spec"]["data"]}
        for item in by_kind(rendered, "ExternalSecret")
    }
    held["rabbitmq-default-user"] = {"username", "password"}  # as its operator makes it
    for item in by_kind(rendered, "Job"):
        for volume in pod(item)["volumes"]:
            for source in volume.get("projected", {}).get("sources", [volume]):
                one = source["secret"]
                name = one.get("name") or one["secretName"]
                assert {entry["key"] for entry in one["items"]} <= held[name]


def _labels_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("labels", "matchLabels"):
                yield from inner.values()
            else:
                yield from _labels_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _labels_in(inner)


def test_labels_are_short_and_plain(rendered: list[Manifest]) -> None:
    for item in rendered:
        for value in _labels_in({key: item[key] for key in ("metadata", "spec") if key in item}):
            if "{{" not in value:  # of an alert, which Prometheus fills in
                assert _LABEL_VALUE.match(value), f"{title(item)}: {value}"


def test_containers_have_each_variable_and_mount_once_and_probes_with_one_handler(
    rendered: list[Manifest],
) -> None:
    for item in with_pods(rendered):
        names_of = [container["name"] for container in containers(item)]
        assert len(names_of) == len(set(names_of)), title(item)
        for container in containers(item):
            for key, field in (("env", "name"), ("volumeMounts", "mountPath")):
                found = [entry[field] for entry in container.get(key, [])]
                assert len(found) == len(set(found)), f"{title(item)} {key}"
            for key in ("startupProbe", "livenessProbe", "readinessProbe"):
                if key in container:
                    assert len(_HANDLERS & set(container[key])) == 1, f"{title(item)} {key}"
            amounts = container["resources"]
            for kind in ("requests", "limits"):
                for amount in amounts.get(kind, {}).values():
                    assert _QUANTITY.match(str(amount)), f"{title(item)} {amount}"
            assert not _ONLY_OF_PODS & set(container["securityContext"]), title(item)
        assert not _ONLY_OF_CONTAINERS & set(pod(item)["securityContext"]), title(item)
    for item in by_kind(rendered, "Job"):
        assert pod(item)["restartPolicy"] in ("Never", "OnFailure")


def test_what_a_policy_excepts_lies_in_its_network(rendered: list[Manifest]) -> None:
    for item in by_kind(rendered, "NetworkPolicy"):
        for direction, peers in (("egress", "to"), ("ingress", "from")):
            for rule in item["spec"].get(direction, []):
                for peer in rule.get(peers, []):
                    block = peer.get("ipBlock", {})
                    for excepted in block.get("except", []):
                        inner, outer = ip_network(excepted), ip_network(block["cidr"])
                        assert inner != outer
                        assert inner.subnet_of(outer), title(item)  # type: ignore[arg-type]


def test_images_are_pinned(rendered: list[Manifest]) -> None:
    for item in with_pods(rendered):
        for container in containers(item):
            _, colon, tag = container["image"].rpartition(":")
            assert colon
            assert tag not in ("", "latest"), container["image"]
            assert re.match(r"^v?\d+\.\d+", tag), container["image"]


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if field in _TEXT_FIELDS and key != "valueFrom" and not isinstance(inner, (dict, list)):
                yield f"{field}.{key}", inner
            yield from _texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            if field in ("args", "command") and not isinstance(inner, (dict, list)):
                yield field, inner
            yield from _texts(inner, field)


def test_no_number_or_boolean_stands_where_a_string_belongs(rendered: list[Manifest]) -> None:
    for item in rendered:
        for where, value in _texts(item):
            assert isinstance(value, str), f"{title(item)} {where}: {value!r}"


def test_nothing_but_listeners_is_reachable_under_the_policies(rendered: list[Manifest]) -> None:
    policies = by_kind(rendered, "NetworkPolicy")
    if not policies:
        assert names(rendered, "Namespace") == {"postroad-dev"}, "only developers do without"
        return
    everything = [item for item in policies if item["spec"]["podSelector"] == {}]
    assert [item["spec"]["policyTypes"] for item in everything] == [["Ingress", "Egress"]]
    assert all("ingress" not in item["spec"] for item in everything)
    for item in policies:
        for rule in item["spec"].get("egress", []):
            for peer in rule.get("to", []):
                block = peer.get("ipBlock")
                if block and block["cidr"] == "0.0.0.0/0":
                    assert {
                        "10.0.0.0/8",
                        "172.16.0.0/12",
                        "192.168.0.0/16",
                        "169.254.0.0/16",
                    } <= set(block["except"])


def test_services_reach_what_they_ask_for_outside(rendered: list[Manifest]) -> None:
    wanted = {
        "sender": {25, 53, 443},  # mail, policies
        "feedback": {443},  # webhooks
        "ingress-http": {53, 80, 443},  # records of domains, attachments by URL, sign-on
    }
    for item in by_kind(rendered, "NetworkPolicy"):
        name, _, kind = item["metadata"]["name"].rpartition("-")
        if kind == "outside":
            (rule,) = item["spec"]["egress"]
            assert wanted.pop(name) <= {port["port"] for port in rule["ports"]}
    assert not wanted or not by_kind(rendered, "NetworkPolicy")


def test_proxy_headers_come_from_where_the_policy_lets_them_come_from(
    rendered: list[Manifest],
) -> None:
    networks = {
        network
        for item in by_kind(rendered, "ConfigMap")
        for network in item["data"].get("POSTROAD_PROXY_NETWORKS", "").split(",")
        if network
    }
    for item in by_kind(rendered, "NetworkPolicy"):
        if item["metadata"]["name"] == "ingress-smtp" and networks:
            (rule,) = item["spec"]["ingress"]
            assert {peer["ipBlock"]["cidr"] for peer in rule["from"]} == networks
