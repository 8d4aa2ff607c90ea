"""Texts of strangers as cells of a CSV, which no spreadsheet takes for a formula."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARK = "'"


def to_cell(text: str) -> str:
    """Return the text, with a mark before it where it would begin a formula."""
    return f"{_MARK}{text}" if text.startswith(_FORMULA) else text


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` made this cell of."""
    return cell[1:] if cell.startswith(_MARK) and cell[1:].startswith(_FORMULA) else cell
