"""Tasks for tiny language models, with corpora made on the spot: `words` (preferences) and `addition` (exact answers)."""

from rlbook.language.tasks import addition, words

__all__ = ["addition", "words"]
