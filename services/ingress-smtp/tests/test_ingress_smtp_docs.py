"""docs/smtp.md tells of every dialog and every limit, and of none that does not exist."""

import re
from pathlib import Path

from postroad_ingress_smtp.limits import SmtpLimits

_HERE = Path(__file__).parent
_TEXT = (_HERE.parents[2] / "docs" / "smtp.md").read_text(encoding="utf-8")


def test_every_row_has_its_dialog_and_every_dialog_its_row():
    named = set()
    for row in re.findall(r"^\| .* \|$", _TEXT.partition("## Limits")[0], re.MULTILINE):
        named |= set(re.findall(r"`([a-z0-9_]+)`", row.rstrip(" |").rpartition("| ")[2]))
    assert named == {path.stem for path in (_HERE / "dialogs").glob("*.dialog")}


def test_every_limit_is_listed_with_its_default():
    for name, field in SmtpLimits.model_fields.items():
        assert f"| `{name}` | {field.default:,} | {field.description} |" in _TEXT
