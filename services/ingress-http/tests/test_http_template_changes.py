"""What a version of a template changed, and the data that its names ask for."""

from postroad_ingress_http.dashboard.mailtemplates import sample_data
from postroad_ingress_http.dashboard.templatechanges import MOST_LINES, compare


def test_what_the_form_does_not_show_is_kept_and_told_when_it_changes():
    old = {"subject": "a", "extra": {"x-a": "1"}, "text": "same"}
    new = {"subject": "b", "extra": {"x-a": "2"}, "text": "same"}
    parts = compare(old, new)
    assert [part.label for part in parts] == ["Subject", "Extra"]
    assert [line.text for line in parts[1].lines if line.kind == "added"] == [' "x-a": "2"']


def test_long_texts_are_compared_by_the_number_of_their_lines():
    lines = [f"line {number}" for number in range(MOST_LINES + 1)]
    changed = [*lines[:10], "other", *lines[11:], "more"]
    (part,) = compare({"text": "\n".join(lines)}, {"text": "\n".join(changed)})
    assert [(line.kind, line.text) for line in part.lines][1:] == [
        ("gap", "line 11"), ("removed", "line 10"), ("added", "other"),
        ("gap", f"line {MOST_LINES + 2}"), ("added", "more"),
    ]  # fmt: skip


def test_sample_data_has_the_names_in_the_texts():
    content = {"subject": "{{ name }}, {$order.id}", "html": "{{recipient}} {{- name|upper }}"}
    assert sample_data(content) == '{\n  "name": "name",\n  "order": "order"\n}'
