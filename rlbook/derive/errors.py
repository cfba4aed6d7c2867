"""What can go wrong when an equation is checked."""


class IllFormed(ValueError):
    """The expression has no meaning for this reader: an unbound index, an unknown operator, a step off the trajectory."""


class Undecided(ValueError):
    """The prover cannot decide the statement. That is never counted as a proof."""


class Refuted(AssertionError):
    """The two sides differ. The message shows both and, where one was found, the smallest witness."""

    def __init__(self, where, lhs, rhs, difference):
        self.where, self.lhs, self.rhs, self.difference = where, lhs, rhs, difference
        from .plain import text  # (plain knows the language; the language knows no errors)
        sides = f"    left side   {text(lhs)}\n    right side  {text(rhs)}"
        super().__init__(f"{where}\n{sides}\n    difference  {describe(difference)}")


def describe(difference):
    """A difference in one line: a witness for a polynomial, the reduced expression for anything else."""
    if isinstance(difference, str):
        return difference
    if hasattr(difference, "describe"):
        return difference.describe()
    from .plain import text
    out = text(difference)
    return out if len(out) <= 300 else out[:300] + " ..."
