"""What is drawn for a metric, and the facts that come with it."""

import pytest

from dnnlib.errors import UserError
from metrics.samples import Reals, members_of
from tests.metrics.helpers import context, linear


def test_fakes_of_a_generator_have_no_end_and_images_do(dataset):
    fakes = context(linear(seed=2), dataset).draw_fakes(500)
    assert (fakes.kind, fakes.n, fakes.distinct) == ("fakes", 500, 500)
    assert (fakes.facts["num_fakes"], fakes.facts["seed"]) == (500, 2)
    images = context(Reals(dataset), dataset).draw_fakes(500)
    assert images.n == 40 and images.facts["fake_dataset"] == dataset.name and "dataset" not in images.facts


def test_reals_are_repeated_or_drawn_once(dataset):
    ctx = context(linear(), dataset)
    repeated, once, limited = ctx.draw_reals(100), ctx.draw_reals_once(), ctx.draw_reals_once(30)
    assert [(d.n, d.distinct, d.facts["num_reals"]) for d in (repeated, once, limited)] == [
        (100, 40, 100), (40, 40, 40), (30, 30, 30),
    ]  # fmt: skip
    mirrored = context(linear(), dataset, mirror=True)
    assert mirrored.draw_reals_once().n == 80 and mirrored.draw_reals(100).distinct == 40
    assert not once.facts["mirror"] and mirrored.draw_reals_once().facts["mirror"]


def test_only_the_members_of_a_class_are_drawn(dataset):
    ctx = context(linear(), dataset, members=members_of(dataset, 0))
    assert ctx.draw_reals_once().n == 14 and ctx.draw_reals(50).distinct == 14


def test_what_a_metric_lacks_is_an_error_that_names_the_option(dataset):
    with pytest.raises(UserError, match="expected --data DATASET"):
        context(linear()).dataset()
    with pytest.raises(UserError, match="expected --network instead of --images"):
        context(Reals(dataset)).generator()
    assert context(linear()).generator().facts["seed"] == 0
