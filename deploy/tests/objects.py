"""What the tests ask of rendered objects: workloads, their pods, labels and containers."""

from collections.abc import Iterator

from rendering import Manifest

WORKLOADS = ("Deployment", "StatefulSet")


def workloads(rendered: list[Manifest]) -> list[Manifest]:
    return [item for item in rendered if item["kind"] in WORKLOADS]


def with_pods(rendered: list[Manifest]) -> list[Manifest]:
    return [item for item in rendered if item["kind"] in (*WORKLOADS, "Job")]


def ours(rendered: list[Manifest]) -> dict[str, Manifest]:
    return {
        item["metadata"]["name"]: item
        for item in workloads(rendered)
        if item["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "postroad"
    }


def pod(item: Manifest) -> Manifest:
    spec: Manifest = item["spec"]["template"]["spec"]
    return spec


def labels(item: Manifest) -> dict[str, str]:
    found: dict[str, str] = item["spec"]["template"]["metadata"]["labels"]
    return found


def containers(item: Manifest) -> list[Manifest]:
    return [*pod(item)["containers"], *pod(item).get("initContainers", [])]


def by_kind(rendered: list[Manifest], kind: str) -> list[Manifest]:
    return [item for item in rendered if item["kind"] == kind]


def names(rendered: list[Manifest], kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in by_kind(rendered, kind)}


def secrets_made(rendered: list[Manifest]) -> set[str]:
    """Return the names of Secrets that are here or that an operator makes from what is here."""
    made = names(rendered, "Secret")
    made |= {item["spec"]["target"]["name"] for item in by_kind(rendered, "ExternalSecret")}
    made |= {item["spec"]["secretName"] for item in by_kind(rendered, "Certificate")}
    for item in by_kind(rendered, "RabbitmqCluster"):
        made.add(f"{item['metadata']['name']}-default-user")
    return made


def servers(rendered: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, str], int]]:
    """Yield what an operator makes servers of, with the labels and the number of their pods."""
    for item in by_kind(rendered, "RabbitmqCluster"):
        yield item, {"app.kubernetes.io/name": item["metadata"]["name"]}, item["spec"]["replicas"]
    for item in by_kind(rendered, "MongoDBCommunity"):
        yield item, {"app": f"{item['metadata']['name']}-svc"}, item["spec"]["members"]


def selects(selector: Manifest, found: dict[str, str]) -> bool:
    return all(found.get(key) == value for key, value in selector.items())
