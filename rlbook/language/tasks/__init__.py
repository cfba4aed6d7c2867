"""Tasks made on the spot: `words` (preferences) and `addition` (exact answers) for tiny models, `countdown` for real ones."""

from rlbook.language.tasks import addition, countdown, words

__all__ = ["addition", "countdown", "words"]
