"""What the tests of several provers share."""
import pytest

from rlbook.derive.claims import BOOK


@pytest.fixture
def own_book():
    """The book as it is; what a test registers in it is forgotten afterwards."""
    before = dict(BOOK)
    yield
    BOOK.clear()
    BOOK.update(before)
