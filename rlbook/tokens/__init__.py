"""Tokens of language models: their log-probabilities, their masks and positions, and the rewards they get.

A completion is o_0..o_T, so an array of tokens has T+1 entries on its last axis; mask is 1 or True where a token counts.
"""

from rlbook.tokens.linear import linear_logprobs
from rlbook.tokens.logprobs import selective_log_softmax
from rlbook.tokens.masks import completion_mask, position_ids, shaped_rewards

__all__ = ["completion_mask", "linear_logprobs", "position_ids", "selective_log_softmax", "shaped_rewards"]
