"""Pages say what the code says, and every setting is known by its name."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from postroad_cli.commands import SUBCOMMANDS, load
from postroad_common.settings_names import KNOWN_SETTINGS
from postroad_ingress_http.dashboard.frame import NAVIGATION

ROOT = Path(__file__).resolve().parent.parent
SERVICES = [path.name.replace("-", "_") for path in sorted((ROOT / "services").iterdir())]
OF_THE_COMMAND = {"url", "token", "state_dir"}


def test_generated_pages_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_known_settings_are_those_of_all_services() -> None:
    fields = set(OF_THE_COMMAND)
    for service in SERVICES:
        fields |= set(import_module(f"postroad_{service}.settings").Settings.model_fields)
    assert fields == KNOWN_SETTINGS


STAGES = ("accept", "transform", "place", "deliver", "record")
_STAGE = re.compile(r"^\d\. (\w+) — (.+)$", re.MULTILINE)
_FUNCTION = re.compile(r"`([\w.]+)` in `([\w./-]+\.py)`")


def first_public(body: list[ast.stmt]) -> str:
    """Return the name of the first function in `body` that is not private, nor a property."""
    for node in body:
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and not node.name.startswith("_") and not node.decorator_list:
            return node.name
    return ""


def test_flow_names_the_five_functions_of_a_mail_in_their_order() -> None:
    page = (ROOT / "docs" / "flow.md").read_text(encoding="utf-8")
    stages = _STAGE.findall(page)
    assert tuple(name for name, _ in stages) == STAGES
    for name, text in stages:
        functions = _FUNCTION.findall(text)
        assert functions, f"{name} names no function"
        for function, path in functions:
            body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
            owner, _, method = function.rpartition(".")
            if owner:
                (found,) = (n for n in body if isinstance(n, ast.ClassDef) and n.name == owner)
                body = found.body
            assert method == name
            assert first_public(body) == name, f"{function} is not the first function in {path}"


_COMMAND = re.compile(r"(?:`|^)postroad ([a-z]+)(?: ([a-z]+)\b)?", re.MULTILINE)


def test_commands_that_pages_name_exist() -> None:
    """A runbook that is read at night must not send anybody to a command that is not there."""
    missing = []
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]:
        for name, verb in _COMMAND.findall(page.read_text(encoding="utf-8")):
            command = load(name) if name in SUBCOMMANDS else None
            verbs = getattr(command, "commands", None)
            if command is None or (verb and verbs is not None and verb not in verbs):
                missing.append(f"{page.name}: postroad {name} {verb}")
    assert not missing, "\n".join(missing)


def test_each_page_in_the_menu_of_the_dashboard_has_a_small_picture() -> None:
    script = (ROOT / "scripts" / "take_screenshots.py").read_text()
    shots = dict(re.findall(r'^    "([a-z-]+)": \("([^"?{]+)', script, re.MULTILINE))
    pages = {path for _, links in NAVIGATION for path, _ in links} | {"/dashboard/profile"}
    assert pages - set(shots.values()) == set()
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()}
    assert set(pictures) == {f"{name}.webp" for name in shots}
    assert max(pictures.values()) <= 80_000
    gallery = (ROOT / "docs" / "pages.md").read_text()
    assert [name for name in pictures if f"images/{name}" not in gallery] == []
    assert (ROOT / "README.md").read_text().count("docs/images/") == 3


def test_index_of_decisions_has_the_title_of_each_page_in_order_and_names_unused_numbers() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(folder.glob("0*.md"))
    titles = [path.read_text().partition("\n")[0].removeprefix("# ") for path in pages]
    index = (folder / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", index, re.MULTILINE)
    assert [f"{number} {title}" for number, _, title in rows] == titles
    assert [name for _, name, _ in rows] == [path.name for path in pages]
    numbers = {path.name[:4] for path in pages}
    unused = {f"{number:04}" for number in range(1, int(max(numbers)))} - numbers
    assert [number for number in sorted(unused) if number not in index] == []


_PLACE = re.compile(r"`((?:broker|store|mail|schemas|delivery|lanes|throttle|workers)/\w+)`")
_DOTTED = re.compile(r"`((?:[a-z_]+\.)+[a-z_]+\.\w+)`")


def test_places_in_the_code_that_decisions_name_exist() -> None:
    """What a page calls `broker/silence` or `html.page.HtmlPage` is still called so."""
    sources = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    modules = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sources}

    def exists(place: str) -> bool:
        return any(name.endswith(f"/{place}") for name in modules)

    def defined(dotted: str) -> bool:
        module, _, name = dotted.rpartition(".")
        inside = re.compile(rf"^(?:class|def|async def) {name}\b", re.MULTILINE)
        return any(
            inside.search(path.read_text())
            for found, path in modules.items()
            if found.endswith("/" + module.replace(".", "/"))
        )

    missing = []
    for page in [*(ROOT / "docs" / "adr").glob("*.md"), ROOT / "docs" / "throttling.md"]:
        text = page.read_text()
        missing += [f"{page.name}: {place}" for place in _PLACE.findall(text) if not exists(place)]
        missing += [
            f"{page.name}: {name}"
            for name in _DOTTED.findall(text)
            if not (defined(name) or exists(name.replace(".", "/")))
        ]
    assert missing == []
