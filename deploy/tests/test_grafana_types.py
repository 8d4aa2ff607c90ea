"""The dashboards against the types that Grafana publishes of its own: no Grafana is needed here."""

import shutil
import subprocess
from pathlib import Path

import pytest
from expressions import MONITORING

HEAD = Path(__file__).with_name("dashboards.ts")
DASHBOARDS = sorted((MONITORING / "grafana").glob("*.json"))
PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
_CACHE = MONITORING.parent.parent / ".cache" / "grafana"
_COMPILER = ("node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck")
_OPTIONS = ("--moduleResolution", "node", "--target", "es2020")


@pytest.fixture(scope="module")
def folder() -> Path:
    """Return a folder with the types and the compiler, fetched once."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("without npm the types cannot be fetched")
    if not (_CACHE / "node_modules" / "typescript").exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [*command, "--prefix", str(_CACHE), *PACKAGES],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            pytest.skip(f"npm cannot fetch the types: {done.stderr.strip()[-300:]}")
    return _CACHE


def complaints(folder: Path, texts: list[str]) -> str:
    """Return what the compiler says of dashboards with these texts."""
    constants = (f"export const d{i}: Checked = {text};" for i, text in enumerate(texts))
    (folder / "check.ts").write_text("\n".join([HEAD.read_text(), *constants]))
    command = [*_COMPILER, *_OPTIONS, "check.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout


def test_grafana_knows_every_field_of_the_dashboards(folder: Path) -> None:
    assert len(DASHBOARDS) == 5
    assert complaints(folder, [path.read_text() for path in DASHBOARDS]) == ""


def test_a_field_that_grafana_does_not_know_is_found(folder: Path) -> None:
    text = DASHBOARDS[0].read_text()
    spoilt = text.replace('"showLegend"', '"showLegends"', 1)
    assert spoilt != text
    assert "'\"showLegends\"' does not exist" in complaints(folder, [spoilt])
