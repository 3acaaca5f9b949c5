"""Pools of rows, and which features they use, however the rows are split up."""

import pytest
import torch

from madkit.streaming import Pool, RowCount, UsedFeatures

ROWS = torch.tensor([[2.0, 0.0], [1.0, 0.0], [2.0, 0.0], [-0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
@pytest.mark.parametrize("size", [1, 3])
def test_the_order_of_a_pool_is_that_of_its_values(order, size):
    pool = Pool()
    for batch in ROWS[order].split(size):
        pool.update(batch.clone())
    expected = Pool()
    expected.update(ROWS.clone())
    assert torch.equal(pool.result(), expected.result())
    assert pool.result().sort(0).values[:, 0].tolist() == [0.0, 1.0, 2.0, 2.0]


def test_pools_merge_as_if_the_rows_had_come_to_one():
    one, other = Pool(), Pool()
    one.update(ROWS[:1].clone())
    other.update(ROWS[1:].clone())
    one.merge(other)
    together = Pool()
    together.update(ROWS.clone())
    assert torch.equal(one.result(), together.result())
    one.merge(Pool())
    assert torch.equal(one.result(), together.result())


@pytest.mark.parametrize("convert", [torch.Tensor.clone, lambda x: x.to_sparse().coalesce()])
def test_used_features_are_those_with_another_value_than_zero(convert):
    used = UsedFeatures()
    for batch in (torch.tensor([[0.0, 3.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0], [0.0, -1.0, 2.0]])):
        used.update(convert(batch))
    assert used.result().tolist() == [0, 1, 1]


def test_a_row_count_remembers_how_many_and_how_long_only():
    count = RowCount()
    count.update(ROWS)
    count.update(ROWS[:0])
    count.update(ROWS[:1])
    assert (int(count.n), int(count.width), count.result()) == (5, 2, None)
