"""The OpenAPI document, taken at its word: by a generated client and by a checker of all calls."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id

CHECKS = """\
[checks]
# What the document cannot say, such as what makes a cursor or an address, is refused with 400.
positive_data_acceptance.expected-statuses = [
  "2xx", 400, 401, 403, 404, 409, 413, 415, 422, 429, 503
]
# Numbers and words are taken for switches, as forms have nothing else.
negative_data_rejection.enabled = false
# Who guesses tokens for long is told to wait.
ignored_auth.enabled = false
"""


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory, stack: Any) -> Path:
    """Return the file with the document of the running service."""
    path = tmp_path_factory.mktemp("api") / "openapi.json"
    path.write_text(httpx.get(f"{stack.document.http}/openapi.json", timeout=30).text)
    return path


@pytest.fixture
def client(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Generate a client from the document; return the name of its package."""
    name = f"client_{new_id()}"
    config = tmp_path / "config.json"
    options = {
        "package_name_override": name,
        "project_name_override": name,
        "post_hooks": [],
        "content_type_overrides": {"message/rfc822": "application/octet-stream"},
    }
    config.write_text(json.dumps(options))
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning",
         "--path", document, "--config", config, "--output-path", tmp_path / "made"],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(tmp_path / "made")
    return name


def test_generated_client_sends_creates_changes_and_reads(road: Any, client: str):
    def module(path: str) -> Any:
        return importlib.import_module(f"{client}.{path}")

    def fields(model: str, **values: Any) -> Any:
        return getattr(module("models"), model).from_dict(values)

    there = module("client").AuthenticatedClient(
        base_url=road.stack.document.http, token=road.stack.document.token, timeout=30
    )

    def call(path: str, *arguments: Any, **more: Any) -> Any:
        answer = module(f"api.{path}").sync_detailed(*arguments, client=there, **more)
        assert answer.status_code < 300, answer.content
        return answer.parsed

    mail = {"recipient": "gen@receiver.test", "from": "shop@shop.test", "text": "hello"}
    sent = call("send.send_send", body=fields("SendFields", **mail))
    (message,) = sent.to_dict()
    shown = road.message(message)
    assert shown["recipient"] == "gen@receiver.test"
    found = call("messages.messages_one", message)
    assert found.recipient == "gen@receiver.test"
    assert call("messages.messages_search", recipient="gen@receiver.test").items[0].id == message
    login = call("credentials.credentials_create", body=fields("CredentialChanges", name="gen"))
    assert login.password
    changed = call(
        "credentials.credentials_change", login.username, body=fields("CredentialUpdate", name="n")
    )
    assert changed.name == "n"
    domain = call("domains.domains_add", body=fields("DomainFields", domain=f"{new_id()}.example"))
    assert domain.records
    token = call("tokens.tokens_create", body=fields("TokenFields", name="gen", scopes=["send"]))
    assert token.token
    call("tokens.tokens_delete", token.id)
    name = f"gen {new_id()}"
    template = call(
        "templates.templates_create", body=fields("TemplateFields", name=name, text="x")
    )
    assert call("templates.templates_one", template.id).content.text == "x"
    call("templates.templates_delete", template.id)
    assert call("lanes.lanes_listing") is not None
    assert call("queues.queues_listing").items


def without_examples(document: Path, path: Path) -> Path:
    """Write the document without its examples, which the checker would multiply and vary."""
    known = json.loads(document.read_text())
    for operations in known["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.pop("example", None)
    path.write_text(json.dumps(known))
    return path


@pytest.mark.timeout(900)  # thousands of calls, half a minute of processor time
def test_every_call_answers_as_the_document_says(road: Any, document: Path, tmp_path: Path):
    """Each example is tried, and every value that the document allows or forbids, in each place.

    Deletions run last, and with a token of their own: one of them revokes it.
    """
    made = road.api.post("/v1/tokens", {"name": "checker", "scopes": ["*"]})
    bare = without_examples(document, tmp_path / "bare.json")
    for number, (checked_document, arguments) in enumerate(
        (
            (document, ["--phases", "examples"]),
            (bare, ["--phases", "coverage", "--exclude-method", "DELETE"]),
            (bare, ["--phases", "coverage", "--include-method", "DELETE"]),
        )
    ):
        config = tmp_path / f"checks{number}.toml"
        config.write_text(CHECKS)
        checked = subprocess.run(
            [Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run",
             checked_document, "--url", road.stack.document.http,
             "--header", f"Authorization: Bearer {made['token']}", "--seed", "1",
             "--request-timeout", "30", "--warnings", "off", "--continue-on-failure",
             *arguments],
            capture_output=True, text=True, check=False, timeout=440, cwd=tmp_path,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout[-6000:] + checked.stderr[-2000:]
