"""Task types: put, versions, and what becomes of the tasks that name them."""

from datetime import timedelta
from time import process_time
from typing import Any

import pytest

from domain import events as e
from domain.commands import SubmitTask
from domain.errors import BadInput, BadSchema
from domain.filling import Work
from domain.ids import derived_id
from domain.input_schema import check_input, check_schema
from domain.messages import Cause
from domain.placing import Concurrency, Requires
from domain.recorded import new_events
from domain.retry_spec import Retry
from domain.specs import Container, TaskSpec, Timeouts
from domain.submitting import check
from domain.task_type import Types, typed
from domain.type_specs import Definition
from domain.work import Reply
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, Desk, command, submit

BAKE: dict[str, Any] = {
    "task_type": "bake",
    "image": "busybox:1.36",
    "command": ["bake", "{{input.recipe}}", "{{input.loaves}}"],
    "env": {"OVEN": "oven {{input.oven}}"},
    "input_schema": {
        "type": "object",
        "properties": {
            "recipe": {"type": "string", "pattern": "^[a-z]+$"},
            "loaves": {"type": "integer", "minimum": 1, "default": 2},
            "oven": {"$ref": "#/$defs/oven"},
        },
        "required": ["recipe", "oven"],
        "additionalProperties": False,
        "$defs": {"oven": {"enum": ["left", "right"]}},
    },
}
RYE = {"executor": "docker", "task_type": "bake", "input": {"recipe": "rye", "oven": "left"}}

CAUSE = Cause("chain", "a", "test")


def put(id: Any = COMMAND, **changes: Any) -> Any:
    return command("task-type.put.v1", {**BAKE, **changes}, id)


def refused(reply: Reply) -> tuple[str, str]:
    assert reply.outcome == "rejected"
    assert reply.problem is not None
    return reply.problem.code, reply.problem.detail or ""


def history(desk: Desk, reply: Reply) -> list[e.Event]:
    assert reply.outcome == "accepted", reply.problem
    return [event.event() for event in desk.store.log.events if event.stream == reply.id]


def first(desk: Desk, reply: Reply) -> e.TaskSubmitted:
    submitted = history(desk, reply)[0]
    assert isinstance(submitted, e.TaskSubmitted)
    return submitted


async def test_a_type_is_put_and_put_anew_and_putting_the_same_again_changes_nothing() -> None:
    desk = Desk()
    replies = [
        await desk.reply(put()),
        await desk.reply(put(COMMAND_2)),
        await desk.reply(put(COMMAND_3, memory="64Mi")),
    ]

    assert [reply.version for reply in replies] == [1, 1, 2]
    definition = Definition.model_validate({name: value for name, value in BAKE.items() if name != "task_type"})
    assert history(desk, replies[0]) == [
        e.TaskTypeChanged(task_type="bake", number=1, definition=definition, by="client"),
        e.TaskTypeChanged(
            task_type="bake", number=2, definition=definition.model_copy(update={"memory": "64Mi"}), by="client"
        ),
    ]


async def test_a_task_keeps_the_version_it_was_submitted_with_and_so_does_its_retry() -> None:
    desk = Desk()
    await desk.reply(put())
    one = await desk.reply(submit({**RYE, "task_id": "T1"}, COMMAND_2))
    before = first(desk, one)
    await desk.reply(put(desk.new_id(), image="busybox:2", command=["bake"], env={}))
    two = first(desk, await desk.reply(submit(RYE, desk.new_id())))
    await desk.reply(command("task.cancel.v1", {"task_id": "T1"}, COMMAND_3))
    await desk.reply(command("task-type.remove.v1", {"task_type": "bake"}, desk.new_id()))
    again = first(desk, await desk.reply(command("task.retry.v1", {"task_id": "T1"}, desk.new_id())))

    old = Container(image="busybox:1.36", command=("bake", "rye", "2"), env={"OVEN": "oven left"})
    assert (before.container, before.task_type_version, before.filled) == (old, 1, None)
    assert before.spec.input == {"recipe": "rye", "oven": "left", "loaves": 2}
    assert (two.container, two.task_type_version) == (Container(image="busybox:2", command=("bake",)), 2)
    assert (again.container, again.task_type_version) == (old, 1)


async def test_a_fork_is_a_new_task_and_takes_the_type_as_it_is_now() -> None:
    desk = Desk()
    await desk.reply(put())
    await desk.reply(submit({**RYE, "task_id": "T1"}, COMMAND_2))
    await desk.reply(put(desk.new_id(), image="busybox:2"))
    fork = {"task_id": "T1", "changes": {"input": {"loaves": 5}}}
    forked = first(desk, await desk.reply(command("task.fork.v1", fork, COMMAND_3)))

    assert forked.task_type_version == 2
    assert forked.container == Container(image="busybox:2", command=("bake", "rye", "5"), env={"OVEN": "oven left"})


async def test_a_workflow_that_is_run_once_more_keeps_the_versions_of_its_types() -> None:
    desk = Desk()
    await desk.reply(put())
    tasks: list[dict[str, Any]] = [
        {**RYE, "task_id": "T1"},
        {**RYE, "task_id": "T2", "depends_on": [{"task_id": "T1"}]},
    ]
    tasks[1]["input"] = {"recipe": "{{tasks.T1.result.name}}", "oven": "left"}
    whole = command("task.submit-workflow.v1", {"workflow_id": "W", "tasks": tasks}, COMMAND_2)
    before = await desk.reply(whole)
    await desk.reply(command("task-type.remove.v1", {"task_type": "bake"}, desk.new_id()))
    olds = [event.event() for event in desk.store.log.events if event.type == "task.submitted.v1"]
    for stream in {event.stream for event in desk.store.log.events if event.type == "task.submitted.v1"}:
        head = 2
        end = e.TaskFailed(task_id="x", reason="exit-nonzero", runs=1)
        desk.store.log.append(new_events(stream, head, "default", [end], CAUSE))
    assert before.id is not None
    finished = e.WorkflowFinished(workflow_id="W", failed=2)
    desk.store.log.append(new_events(before.id, 1, "default", [finished], CAUSE))
    reply = await desk.reply(command("workflow.retry.v1", {"workflow_id": "W"}, COMMAND_3))
    assert reply.outcome == "accepted", reply.problem

    news = [event.event() for event in desk.store.log.events if event.type == "task.submitted.v1"][2:]
    assert [getattr(new, "task_type_version", None) for new in news] == [1, 1]
    for old, new in zip(olds, news, strict=True):
        assert isinstance(old, e.TaskSubmitted)
        assert isinstance(new, e.TaskSubmitted)
        assert (new.container, new.input_schema) == (old.container, old.input_schema)


async def test_a_type_that_is_put_in_the_same_batch_is_known_and_one_of_another_namespace_is_not() -> None:
    desk = Desk()
    await desk.handle([put(), submit(RYE, COMMAND_2), submit({**RYE, "namespace": "analytics"}, COMMAND_3)])

    assert [reply.outcome for reply in desk.sent.replies] == ["accepted", "accepted", "rejected"]
    code, detail = refused(desk.sent.replies[2])
    assert code == "unknown-task-type"
    assert "built in: shell, sleep; `tally type ls` shows the others" in detail


async def test_a_task_that_overtakes_its_type_waits_for_it_a_little() -> None:
    desk = Desk()
    waiting = await desk.handle([submit(RYE)], timedelta(0))
    many = command("task.submit-tasks.v1", {"tasks": [RYE, {"executor": "noop"}]}, COMMAND_2)
    waiting += await desk.handle([many], timedelta(0))
    assert (len(waiting), desk.types) == (2, [])

    await desk.reply(put(COMMAND_3))
    assert await desk.handle(waiting, timedelta(seconds=1)) == []
    assert desk.types.count("task.submitted.v1") == 3


async def test_a_removed_type_is_unknown_until_it_is_put_again_as_the_next_version() -> None:
    desk = Desk()
    ids = [desk.new_id() for _ in range(6)]
    await desk.reply(put(ids[0]))
    removed = await desk.reply(command("task-type.remove.v1", {"task_type": "bake"}, ids[1]))
    again = await desk.reply(command("task-type.remove.v1", {"task_type": "bake"}, ids[2]))
    gone = await desk.reply(submit(RYE, ids[3]))
    back = await desk.reply(put(ids[4]))

    assert refused(gone)[0] == "unknown-task-type"
    assert (removed.version, again.version) == (2, 2)
    assert [getattr(event, "number", None) for event in history(desk, back)] == [1, 1, 2]
    nothing = await desk.reply(command("task-type.remove.v1", {"task_type": "boil"}, ids[5]))
    assert refused(nothing)[0] == "not-found"


@pytest.mark.parametrize("name", ["sleep", "shell"])
async def test_what_is_built_in_is_neither_put_nor_removed(name: str) -> None:
    desk = Desk()
    for one in (put(task_type=name), command("task-type.remove.v1", {"task_type": name}, COMMAND_2)):
        assert refused(await desk.reply(one)) == (
            "task-type-taken",
            f"task_type: {name} is built in and stays as it is; choose another name",
        )
    assert desk.types == []


async def test_shell_runs_a_command_of_the_shell() -> None:
    desk = Desk()
    data = {"executor": "docker", "task_type": "shell", "input": {"command": 'echo "$HOME" {}'}}
    submitted = first(desk, await desk.reply(submit(data)))
    assert submitted.container == Container(image="tallyport/busybox:dev", command=("sh", "-c", 'echo "$HOME" {}'))
    assert submitted.task_type_version is None
    code, detail = refused(await desk.reply(submit({**data, "input": {}}, COMMAND_2)))
    assert (code, detail.startswith("input.command: ")) == ("bad-input", True)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"oven": "left"}, "input.recipe: "),
        ({"recipe": "Rye", "oven": "left"}, "input.recipe: "),
        ({"recipe": "rye", "oven": "middle"}, "input.oven: "),
        ({"recipe": "rye", "oven": "left", "loaves": 0}, "input.loaves: "),
        ({"recipe": "rye", "oven": "left", "loaves": 1.5}, "input.loaves: "),
        ({"recipe": "rye", "oven": "left", "colour": "red"}, "input.colour: "),
        ({"recipe": "{{tasks.T0.result}}", "oven": "middle"}, "input.oven: "),
        ({"oven": "{{tasks.T0.result}}"}, "input.recipe: "),
        (None, "input.recipe: "),
    ],
)
async def test_input_that_does_not_fit_is_refused_with_its_place(given: dict[str, Any] | None, place: str) -> None:
    desk = Desk()
    await desk.reply(put())
    await desk.reply(submit({"task_id": "T0"}, COMMAND_2))
    data = {**RYE, "input": given, "depends_on": [{"task_id": "T0"}]}
    code, detail = refused(await desk.reply(submit(data, COMMAND_3)))
    assert (code, detail[: len(place)]) == ("bad-input", place)
    assert detail.endswith("task type bake, which takes recipe, loaves, oven")
    assert "task.blocked.v1" not in desk.types


async def test_a_whole_number_is_filled_in_as_one_however_it_was_written() -> None:
    desk = Desk()
    await desk.reply(put())
    loaves = submit({**RYE, "input": {"recipe": "rye", "oven": "left", "loaves": 3.0}}, COMMAND_2)
    container = first(desk, await desk.reply(loaves)).container
    assert container is not None
    assert container.command == ("bake", "rye", "3")


async def test_templated_input_is_held_against_the_schema_when_it_is_filled() -> None:
    desk = Desk()
    await desk.reply(put())
    await desk.reply(submit({"task_id": "T0"}, COMMAND_2))
    given = {"recipe": "{{tasks.T0.result.name}}", "oven": "left", "loaves": "{{tasks.T0.result.loaves}}"}
    submitted = first(
        desk, await desk.reply(submit({**RYE, "input": given, "depends_on": [{"task_id": "T0"}]}, COMMAND_3))
    )

    assert submitted.reads == ("T0",)
    assert submitted.input_schema == BAKE["input_schema"]
    assert submitted.container is not None
    assert submitted.container.command == ("bake", "{{input.recipe}}", "{{input.loaves}}")


async def test_literal_templates_are_filled_and_held_against_the_schema_at_once() -> None:
    desk = Desk()
    await desk.reply(put(input_schema={"type": "object", "properties": {"recipe": {"maxLength": 5}}}))
    data = {**RYE, "input": {"recipe": '{{"{{"}}', "oven": "left", "loaves": 1}}
    submitted = first(desk, await desk.reply(submit(data, COMMAND_2)))
    filled = Container(image="busybox:1.36", command=("bake", "{{", "1"), env={"OVEN": "oven left"})
    assert submitted.filled == Work(container=filled, input={"recipe": "{{", "oven": "left", "loaves": 1})
    assert submitted.input_schema is None
    long = {**RYE, "input": {"recipe": '{{"{{"}}long', "oven": "left", "loaves": 1}}
    assert refused(await desk.reply(submit(long, COMMAND_3)))[0] == "bad-input"


async def test_a_filled_in_text_is_never_a_template_again() -> None:
    desk = Desk()
    await desk.reply(put(command=["bake", '{{"{"}}{{input.recipe}}'], env={}, input_schema={"type": "object"}))
    data = {**RYE, "input": {"recipe": "{tasks.T0.result}}"}}
    submitted = first(desk, await desk.reply(submit(data, COMMAND_2)))
    assert submitted.reads is None
    assert submitted.work.container == Container(image="busybox:1.36", command=("bake", "{{tasks.T0.result}}"))


async def test_a_type_s_defaults_hold_for_what_a_task_leaves_out() -> None:
    own = Definition(
        image="busybox",
        retry=Retry(max_runs=5),
        timeouts=Timeouts(run=timedelta(minutes=1), stop=timedelta(seconds=1)),
        concurrency=Concurrency(key="oven"),
        requires=Requires(pool="kitchen"),
    )
    desk = Desk()
    fields = own.model_dump(mode="json", exclude_none=True)
    await desk.reply(command("task-type.put.v1", {"task_type": "bake", **fields}))
    bare = first(desk, await desk.reply(submit({"executor": "docker", "task_type": "bake"}, COMMAND_2))).spec
    said = {"timeouts": {"run": "PT5M"}, "retry": {"max_runs": 1}, "requires": {"pool": "hall"}}
    full = first(desk, await desk.reply(submit({"executor": "docker", "task_type": "bake", **said}, COMMAND_3))).spec

    assert (bare.retry, bare.timeouts, bare.concurrency, bare.requires) == (
        own.retry,
        own.timeouts,
        own.concurrency,
        own.requires,
    )
    assert full.retry == Retry(max_runs=1)
    assert full.timeouts == Timeouts(run=timedelta(minutes=5), stop=timedelta(seconds=1))
    assert (full.concurrency, full.requires.pool) == (own.concurrency, "hall")


NESTED = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(20)}
ENUM = {"e": {"enum": list(range(1000))}}
CHAIN = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(40)}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "nonsense"}, "input_schema.type: "),
        ({"properties": {"a": {"minimum": "1"}}}, "input_schema.properties.a.minimum: "),
        ({"pattern": "("}, "input_schema.pattern: "),
        ({"pattern": "(?=a)"}, "input_schema.pattern: "),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "input_schema.$schema: "),
        ({"$ref": "https://example.com/schema"}, "input_schema.$ref: https://example.com/schema is not a place"),
        ({"$ref": "other.json"}, "input_schema.$ref: other.json is not a place"),
        ({"$ref": "#/$defs/a"}, "input_schema.$ref: there is nothing at #/$defs/a"),
        ({"properties": {"a": {"$ref": "#"}}}, "leads back to itself"),
        ({"properties": {"a": {"$id": "https://example.com/", "$ref": "#"}}}, "not supported"),
        ({"$dynamicRef": "#a"}, "input_schema.$dynamicRef: not supported"),
        ({"$defs": {**NESTED, "d20": {}}, "$ref": "#/$defs/d0"}, "unfolds to more than 2000 objects"),
        ({"$defs": {**CHAIN, "d40": {}}, "$ref": "#/$defs/d0"}, "32 references lead from one to the next"),
        ({"properties": {"a": {"type": "string", "default": 7}}}, "input_schema.properties.a.default: "),
        ({"properties": {"$defs": {"$ref": "#"}}}, "leads back to itself"),
        ({"properties": {"properties": {"properties": {"$defs": {"$ref": "#"}}}}}, "leads back to itself"),
        ({"properties": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}}, "$schema: not supported here"),
        ({"$defs": {"a": {"$id": "https://example.com/"}}}, "input_schema.$defs.a.$id: not supported here"),
        ({"$defs": ENUM, "allOf": [{"$ref": "#/$defs/e"}] * 99}, "unfolds to more than 50000 values"),
        ({"properties": {f"p{n}": {"pattern": ".{99}"} for n in range(99)}}, "patterns, and long repeats in them"),
        ({"patternProperties": {f".{{99}}{n}": True for n in range(99)}}, "patterns, and long repeats in them"),
    ],
)
async def test_a_schema_that_is_none_or_may_cost_too_much_is_refused(schema: dict[str, Any], says: str) -> None:
    desk = Desk()
    code, detail = refused(await desk.reply(put(input_schema=schema)))
    assert code == "bad-schema"
    assert says in detail
    assert desk.types == []


def test_a_schema_may_have_64_kib() -> None:
    check_schema({"description": "x" * 65_000})
    with pytest.raises(BadSchema, match="more than 65536 bytes"):
        check_schema({"description": "x" * 65_536})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"command": ["bake", "{{input}}"]}, "bad-template"),
        ({"command": ["bake", "{{tasks.T0.result}}"]}, "bad-template"),
        ({"retry": {"fallback": {"command": ["{{tasks.T0.result}}"]}}}, "bad-template"),
        ({"requires": {"same_worker_as": "T0"}}, "schema"),
        ({"image": None}, "schema"),
        ({"memory": "1Ki"}, "schema"),
        ({"task_type": "no spaces"}, "schema"),
    ],
)
async def test_a_type_that_no_task_could_run_is_refused(changes: dict[str, Any], code: str) -> None:
    desk = Desk()
    assert refused(await desk.reply(put(**changes)))[0] == code
    assert desk.types == []


def test_a_schema_may_say_all_that_its_draft_says() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/bake",
        "properties": {"$ref": {"type": "string"}, "at": {"format": "date-time"}, "a/b": {"$ref": "#/$defs/a~1b"}},
        "dependentRequired": {"at": ["a/b"]},
        "$defs": {"a/b": {"const": None}},
    }
    check_schema(schema)
    check_input(schema, {"$ref": "x", "at": "2026-11-21T22:00:00Z", "a/b": None}, "bake")
    for given in ({"at": "soon", "a/b": None}, {"at": "2026-11-21T22:00:00Z"}, {"a/b": 1}):
        with pytest.raises(BadInput):
            check_input(schema, given, "bake")


def test_a_pattern_takes_time_that_grows_with_the_text_alone() -> None:
    schema = {"properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}
    with pytest.raises(BadInput):
        check_input(schema, {"text": "a" * 50_000 + "b"}, "bake")


def often(one: dict[str, Any], times: int = 150) -> dict[str, Any]:
    """A schema that holds each item of a list against `one` so often."""
    return {"$defs": {"one": one}, "properties": {"l": {"items": {"allOf": [{"$ref": "#/$defs/one"}] * times}}}}


LONG = "01" * 30_000
ONES = {"l": [1] * 20_000}


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        (often({"type": "integer"}), ONES),
        (often({"type": "string"}), ONES),
        (often({"anyOf": [{"const": n} for n in range(10)]}, 20), ONES),
        (often({"enum": [{"a": n} for n in range(9)]}, 99), {"l": [{"a": 1}] * 5_000}),
        ({"properties": {"l": {"items": {"enum": [n / 3 for n in range(3000)]}}}}, {"l": [0.5] * 10_000}),
        ({"properties": {"l": {"allOf": [{"contains": {"const": 2}, "minContains": 1}] * 99}}}, ONES),
        ({"properties": {"l": {"allOf": [{"uniqueItems": True}] * 99}}}, ONES),
        ({"properties": {"t": {"pattern": "[01]*1[01]{3000}x"}}}, {"t": LONG}),
        ({"properties": {"t": {"allOf": [{"pattern": "[01]*1[01]{200}x"}] * 4}}}, {"t": LONG}),
        ({"patternProperties": {"[01]*1[01]{3000}x": True}}, {LONG: 1}),
        ({"allOf": [{"unevaluatedProperties": False}] * 99}, {f"k{n}": 1 for n in range(5000)}),
        ({"propertyNames": {"allOf": [{"minLength": 1}] * 99}}, {f"k{n}": 1 for n in range(5000)}),
    ],
)
async def test_an_input_whose_check_would_hold_up_others_is_refused_before_it_is_checked(
    schema: dict[str, Any], given: dict[str, Any]
) -> None:
    desk = Desk()
    await desk.reply(put(input_schema=schema))
    began = process_time()
    code, detail = refused(await desk.reply(submit({**RYE, "input": given}, COMMAND_2)))
    assert (code, detail[:40]) == ("bad-input", "input: to hold it against the schema of ")
    assert process_time() - began < 8  # traced by coverage; unchecked it took 14 s, or four gigabytes


def test_what_is_wrong_with_a_large_input_is_told_while_few_things_can_be() -> None:
    items = {"properties": {"l": {"items": {"enum": [f"k{n}" for n in range(5000)]}}}}
    check_input(items, {"l": ["k1"] * 9_000}, "bake")
    with pytest.raises(BadInput, match=r"^input\.l\[0\]: "):
        check_input(items, {"l": ["no"] * 9_000}, "bake")
    with pytest.raises(BadInput, match=r"^input: it does not fit task type bake, and is too large to say where"):
        check_input(items, {"l": ["no"] * 30_000}, "bake")
    check_input(items, {"l": ["no"] * 30_000}, "bake", filled=False)


def test_an_input_of_the_largest_size_fits_a_schema_that_looks_at_each_value_a_few_times() -> None:
    item = {"type": "object", "properties": {"at": {"type": "integer"}, "name": {"pattern": "^[a-z]+$"}}}
    check_input({"properties": {"l": {"items": item}}}, {"l": [{"at": 1, "name": "abc"}] * 3_000}, "bake")
    check_input({"properties": {"t": {"pattern": "^[01]+$"}}}, {"t": LONG}, "bake")
    check_input({"properties": {"l": {"items": {"pattern": "^.{1,255}$"}}}}, {"l": ["a" * 200] * 50}, "bake")


def test_what_only_a_template_may_mend_is_left_to_the_time_when_it_is_filled() -> None:
    schema = {"if": {"properties": {"kind": {"const": "x"}}}, "then": {"required": ["more"]}, "required": ["kind"]}
    check_input(schema, {"kind": "x", "more": 1, "n": "{{tasks.a.result}}"}, "bake", filled=False)
    check_input(schema, {"kind": "x", "n": "{{tasks.a.result}}"}, "bake", filled=False)
    with pytest.raises(BadInput):
        check_input(schema, {"kind": "x"}, "bake", filled=False)
    with pytest.raises(BadInput):
        check_input(schema, {"n": "{{tasks.a.result}}"}, "bake", filled=False)


DEAR: dict[str, Any] = {"items": {"anyOf": [{"minimum": least} for least in range(1, 901)]}}


async def test_the_inputs_of_one_command_may_take_so_much_together_and_the_next_command_begins_anew() -> None:
    desk = Desk()
    await desk.reply(put(command=["bake"], env={}, input_schema={"properties": {"loaves": DEAR}}))
    task = {"executor": "docker", "task_type": "bake", "input": {"loaves": [900] * 200}}
    tasks = [{**task, "task_id": f"T{number}"} for number in range(9)]

    some = await desk.reply(command("task.submit-tasks.v1", {"tasks": tasks}, COMMAND_2))
    whole = await desk.reply(command("task.submit-workflow.v1", {"tasks": tasks}, COMMAND_3))
    one = await desk.reply(submit(tasks[8], derived_id(COMMAND, "one")))

    assert [task.problem.code if task.problem else "" for task in some.tasks or ()] == [""] * 6 + ["too-large"] * 3
    assert refused(whole)[0] == "too-large"
    assert refused(whole)[1].startswith("input: to hold the inputs of this message against their types takes more than")
    assert one.outcome == "accepted"


async def test_a_dry_run_lets_types_pass_that_only_the_platform_knows() -> None:
    check(SubmitTask(task_type="bake", input={"any": "thing"}))
    with pytest.raises(BadInput):
        check(SubmitTask(task_type="sleep", input={}))


def test_a_task_without_a_type_is_as_it_was() -> None:
    spec = TaskSpec(container=Container(image="busybox"))
    assert typed(spec, Types("base", put=None)).spec is spec


async def test_a_task_without_a_type_has_nothing_looked_up() -> None:
    desk = Desk()
    (plain,) = desk.items_of("task.submit.v1", {"executor": "noop"})
    (built_in,) = desk.items_of("task.submit.v1", {"task_type": "sleep", "input": {"seconds": 1}})
    (own,) = desk.items_of("task.submit.v1", {"task_type": "bake"})
    assert [len(item.needs(False)[1]) for item in (plain, built_in, own)] == [0, 0, 1]
