from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.evaluation.sampling import Subset, batches, draw
from modrwkv_core.interfaces.record import Record

RECORDS = [Record(str(index), ()) for index in range(10)]


@given(st.integers(0, 200), st.integers(0, 250))
def test_a_draw_is_sorted_distinct_and_repeatable(population: int, count: int) -> None:
    drawn = draw(population, count)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(population, count)
    assert set(drawn) <= set(range(population))
    assert drawn == draw(population, count)


def test_a_draw_does_not_fall_into_step_with_the_order_of_the_data() -> None:
    assert {index % 10 for index in draw(1000, 100)} == set(range(10))


def test_a_subset_holds_the_chosen_records() -> None:
    subset = Subset(RECORDS, [2, 5, 7])
    assert [subset[index].key for index in range(len(subset))] == ["2", "5", "7"]


@given(st.integers(1, 12))
def test_batches_hold_every_record_once(size: int) -> None:
    found = list(batches(RECORDS, size))
    assert [record for batch in found for record in batch] == RECORDS
    assert all(len(batch) == size for batch in found[:-1])
