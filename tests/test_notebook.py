"""What chapters use to show code: the source of a function, and what one function changes in another."""

import pytest

from rlbook.notebook import show_diff


def first(x):
    """A docstring that is left out."""
    # a comment
    y = x + 1
    return y


def second(x):
    """Another docstring."""
    # a comment
    y = x + 2
    return y


def same(z):
    # a comment
    y = z + 1
    return y


def test_a_diff_shows_the_bodies_and_the_line_that_changes():
    diff = show_diff(first, second)
    assert repr(diff).splitlines() == ["--- first", "+++ second", " # a comment", "-y = x + 1", "+y = x + 2", " return y"]
    assert diff._repr_markdown_().startswith("```diff\n--- first")


def test_names_count_but_what_has_no_difference_or_no_source_is_refused():
    assert "-y = x + 1" in repr(show_diff(first, same))
    with pytest.raises(ValueError, match="same body"):
        show_diff(first, first)
    with pytest.raises(TypeError):
        show_diff(first, 1)
