"""Ids that are derived, and what their order means."""

from uuid import UUID

from domain.ids import child_stream, derived_id
from domain.specs import MOST_CHILDREN
from tests.support.ended_tasks import TASK

OTHER = derived_id(TASK, "other")


def test_children_of_one_task_come_in_the_order_of_their_indices() -> None:
    children = [child_stream(TASK, index) for index in range(MOST_CHILDREN)]

    assert children == sorted(set(children))


def test_a_child_is_found_again_beside_its_parent_and_is_of_no_other() -> None:
    child = child_stream(TASK, MOST_CHILDREN - 1)

    assert child == child_stream(TASK, MOST_CHILDREN - 1)
    assert child.int >> 80 == TASK.int >> 80
    assert (child.version, child.variant) == (7, UUID(int=TASK.int).variant)
    assert child != child_stream(OTHER, MOST_CHILDREN - 1)
