"""Templates: what is one, what it reads, and what it becomes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadTemplate, TemplateMissingField, TemplateTooLarge
from domain.templates import TEXT_LIMIT, Known, Values, parse, renamed

EXTRACT = Known(
    "succeeded",
    0,
    {"rows": 7, "ratio": 0.5, "ok": True, "none": None, "name": "é", "files": [{"path": "/a"}], "a b": {"0": "zero"}},
    {"model.bin": {"uri": "s3://b/m", "sha256": "ab", "bytes": 12}},
)
VALUES = Values({"extract": EXTRACT, "etl.load-1": Known("failed", 3), "gone": Known("skipped")}, {"day": "Monday"})


def filled(text: str) -> Any:
    return parse(text, "input.x").value(VALUES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{tasks.extract.result.rows}}", 7),
        ("{{ tasks.extract.result.rows }}", 7),
        ("{{tasks.extract.result.none}}", None),
        ("{{tasks.extract.result.ok}}", True),
        ("{{tasks.extract.result.files[0].path}}", "/a"),
        ("{{tasks.extract.result.files.0.path}}", "/a"),
        ('{{tasks["extract"].result["a b"].0}}', "zero"),
        ('{{tasks.extract.result["files"]}}', [{"path": "/a"}]),
        ('{{tasks.extract.artifacts["model.bin"].uri}}', "s3://b/m"),
        ('{{tasks.extract.artifacts["model.bin"].bytes}}', 12),
        ("{{tasks.extract.status}}", "succeeded"),
        ('{{tasks["etl.load-1"].exit_code}}', 3),
        ('{{tasks["etl.load-1"].status}}', "failed"),
        ("{{tasks.gone.status}}", "skipped"),
        ("{{input.day}}", "Monday"),
    ],
)
def test_an_expression_alone_is_the_value_itself(text: str, value: Any) -> None:
    assert filled(text) == value
    assert type(filled(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{tasks.extract.result.rows}} rows", "7 rows"),
        ("{{tasks.extract.result.ratio}}{{tasks.extract.result.ok}}{{tasks.extract.result.none}}", "0.5truenull"),
        ("on {{input.day}}", "on Monday"),
        ("at {{tasks.extract.result.files}}", 'at [{"path":"/a"}]'),
        ("{{tasks.extract.result.name}}!", "é!"),
        ("a }} b } { c", "a }} b } { c"),
        ('{{"{{"}}tasks.extract.status}}', "{{tasks.extract.status}}"),
        (r'{{"say \"}}\""}}', 'say "}}"'),
        ("", ""),
    ],
)
def test_inside_text_values_are_text_or_compact_json(text: str, value: str) -> None:
    assert filled(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "{{",
        "{{}}",
        "a {{ b",
        "{{.State.Status}}",
        "{{tasks}}",
        "{{tasks.extract}}",
        "{{tasks.extract.reslt}}",
        "{{tasks.extract.status.x}}",
        "{{tasks.extract.artifacts}}",
        "{{tasks.extract.artifacts.model}}",
        "{{tasks.extract.artifacts.model.name}}",
        "{{tasks[0].result}}",
        "{{tasks.etl.load-1.result}}",
        "{{tasks.extract.result.rows | upper}}",
        "{{tasks.extract.result..rows}}",
        "{{tasks.extract.result[-1]}}",
        "{{tasks.extract.result['rows']}}",
        "{{input}}",
        "{{env.DAY}}",
        "{{secrets.key}}",
        '{{"half}}',
        r'{{"\q"}}',
        "{{{tasks.extract.status}}}",
        r'{{"\ud800"}}',
        r'{{tasks.extract.result["\udc00"]}}',
        "{{tasks.extract\n.status}}",
    ],
)
def test_anything_else_in_braces_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        parse(text, "container.command[2]")
    assert caught.value.detail.startswith("container.command[2]: ")
    assert '{{"{{"}} for a plain {{' in caught.value.detail


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{tasks.extract.result.row}}", 'result is an object without "row"'),
        ("{{tasks.extract.result.files[1]}}", 'result["files"] is a list without 1'),
        ("{{tasks.extract.result.rows.x}}", 'result["rows"] is a number without "x"'),
        ("{{tasks.extract.result.name[0]}}", 'result["name"] is a text without 0'),
        ("{{tasks.extract.result.none.x}}", 'result["none"] is null without "x"'),
        ("{{tasks.extract.result[0]}}", "result is an object without 0"),
        ("{{tasks.extract.artifacts.model.uri}}", 'task extract has left no artifact "model"'),
        ('{{tasks["etl.load-1"].result.rows}}', "task etl.load-1 ended as failed, without a result"),
        ("{{tasks.gone.exit_code}}", "task gone ended as skipped, without an exit code"),
        ("{{tasks.later.status}}", "task later has not ended"),
        ("{{input.night}}", 'input is an object without "night"'),
    ],
)
def test_what_is_not_there_is_never_guessed(text: str, why: str) -> None:
    for one in (text, f"in {text}"):
        with pytest.raises(TemplateMissingField) as caught:
            filled(one)
        assert caught.value.detail == f"{text}: {why}"


def test_no_literal_holds_what_no_message_may() -> None:
    with pytest.raises(BadTemplate, match="U\\+0000"):
        parse(r'{{"\u0000"}}', "f")


@pytest.mark.parametrize("step", ["." + "0" * 5000, '["' + "0" * 5000 + '"]', '["²"]'])
def test_what_looks_like_a_number_and_is_none_is_not_there(step: str) -> None:
    with pytest.raises(TemplateMissingField) as caught:
        filled("{{tasks.extract.result.files" + step + "}}")
    assert len(caught.value.detail) <= 1000


def test_a_template_tells_which_tasks_it_reads() -> None:
    template = parse('{{tasks.b.status}}{{input.x}}{{tasks["a.1"].result}}{{tasks.b.exit_code}}', "f")
    assert template.tasks == ("b", "a.1")
    asked = template.asking("input")
    assert asked is not None
    assert asked.written == "{{input.x}}"
    assert parse('{{"{{"}} only', "f").tasks == ()


def test_a_text_that_grows_beyond_64_kib_is_refused() -> None:
    values = Values({"a": Known("succeeded", 0, "é" * (TEXT_LIMIT // 2))})
    assert len(parse("{{tasks.a.result}}", "f").text(values).encode()) == TEXT_LIMIT
    with pytest.raises(TemplateTooLarge):
        parse("{{tasks.a.result}}!", "f").text(values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TRICKY = st.sampled_from(["{{tasks.a.result}}", "{{", "}}", '{{"{{"}}', "{{input.x}}", "$(id)", "`id`", "'; id"])


@given(st.lists(TRICKY | st.text(alphabet="{}x$`'\"", max_size=6)))
def test_what_is_filled_in_is_never_read_as_a_template_again(pieces: list[str]) -> None:
    given = "".join(pieces)
    values = Values({"a": Known("succeeded", 0, given)})
    assert parse("{{tasks.a.result}}", "f").value(values) == given
    assert parse("<{{tasks.a.result}}{{tasks.a.result}}>", "f").text(values) == f"<{given}{given}>"


@given(JSON)
def test_any_result_comes_through_unchanged_and_as_json_in_text(result: Any) -> None:
    if result is None:
        return
    values = Values({"a": Known("succeeded", 0, result)})
    assert parse("{{tasks.a.result}}", "f").value(values) == result
    text = parse(" {{tasks.a.result}}", "f").text(values)[1:]
    assert (text if isinstance(result, str) else json.loads(text)) == result


@given(st.text().filter(lambda text: "\0" not in text))
def test_any_text_can_be_said_as_a_literal(text: str) -> None:
    assert parse("{{" + json.dumps(text) + "}}", "f").text(VALUES) == text


@given(st.lists(TRICKY | st.sampled_from(["{{tasks.", "result", "[0]", '["', " ", ".", "a"])).map("".join))
def test_no_text_is_read_in_any_other_way(text: str) -> None:
    try:
        template = parse(text, "f")
    except BadTemplate:
        assert "{{" in text
        return
    written = [part if isinstance(part, str) else part.written for part in template.parts]
    assert "{{" in text or written == [text] * bool(text)


def test_a_template_is_made_to_read_another_task_and_nothing_else_is_touched() -> None:
    text = (
        'tasks.a {{tasks.a.result.a[0]}} {{tasks["a"].status}} {{tasks.b.status}} {{input.a}} {{"{{tasks.a.status}}"}}'
    )

    assert renamed(text, {"a": 'x"y', "input": "z"}) == (
        'tasks.a {{tasks["x\\"y"].result.a[0]}} {{tasks["x\\"y"].status}} {{tasks.b.status}} {{input.a}} '
        '{{"{{tasks.a.status}}"}}'
    )
    assert renamed("plain", {"a": "b"}) == "plain"
