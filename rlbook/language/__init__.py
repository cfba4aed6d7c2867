"""Policy optimization of language models on transformers: sampling, scoring, rewards, and one readable loop for each algorithm.

Transformers is loaded when a model or a tokenizer is first made.
"""

from rlbook.language import tasks
from rlbook.language.config import GRPOConfig, PPOConfig
from rlbook.language.evaluation import Evaluation, evaluate, pass_at_k
from rlbook.language.grpo import grpo
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy, as_policy, check_same_vocabulary, from_pretrained
from rlbook.language.ppo import ppo
from rlbook.language.pretraining import perplexity, pretrain
from rlbook.language.result import Result, load
from rlbook.language.reward_model import evaluate_reward_model, preference_loss, standardize, train_reward_model
from rlbook.language.rewards import RewardError
from rlbook.language.sampling import Completions, generate
from rlbook.language.scalar import ScalarModel
from rlbook.language.scoring import token_logprobs
from rlbook.language.tokenizer import decode, encode_prompts, word_tokenizer

__all__ = ["Completions", "Evaluation", "GRPOConfig", "PPOConfig", "Policy", "Result", "RewardError", "ScalarModel",
           "as_policy", "check_same_vocabulary", "decode", "encode_prompts", "evaluate", "evaluate_reward_model",
           "from_pretrained", "generate", "grpo", "load", "pass_at_k", "perplexity", "ppo", "preference_loss", "pretrain",
           "standardize", "tasks", "tiny_model", "token_logprobs", "train_reward_model", "word_tokenizer"]
