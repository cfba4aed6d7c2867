"""The logits of the next token, token after token, on a cache of keys and values that the prompts fill once."""

import inspect

import torch
from torch import Tensor, nn

from rlbook.language.model import backbone_and_head
from rlbook.tokens import position_ids

LAYERED = ("llama", "mistral", "qwen2", "qwen3")  # architectures whose backbone is embed_tokens, layers, norm and rotary_emb
FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")  # rotary positions that do not depend on the length


def decoder(model: nn.Module, attention_mask: Tensor, new_tokens: int) -> "Decoder":
    """What reads prompts with that attention mask, and up to new_tokens more: the fastest of the two ways that fit the model."""
    return (LayerDecoder if can_run_layers(model) else Decoder)(model, attention_mask, new_tokens)


class Decoder:
    """Any causal model of transformers: the whole backbone is called for every token.

    attention_mask [B, L] is left-padded. `read` takes the prompts, once, and then one token for each row at a time; both
    return the next token's logits [B, V]. `repeat` makes every row n neighbouring ones.
    """

    def __init__(self, model: nn.Module, attention_mask: Tensor, new_tokens: int):
        self.backbone, self.head = backbone_and_head(model)
        real = torch.cat([attention_mask, attention_mask.new_ones(len(attention_mask), new_tokens)], 1)
        self.padded = not bool((attention_mask != 0).all())
        self.mask, self.places, self.cache, self.length = real, position_ids(real), None, 0

    def repeat(self, count: int) -> None:
        self.mask, self.places = (each.repeat_interleave(count, 0) for each in (self.mask, self.places))
        self.cache.batch_repeat_interleave(count)

    def read(self, ids: Tensor) -> Tensor:
        start, self.length = self.length, self.length + ids.shape[1]
        return self.head(self.last_state(ids, start, self.length))

    def last_state(self, ids: Tensor, start: int, end: int) -> Tensor:
        """The last hidden state [B, H] after ids, which stand from column start to column end."""
        out = self.backbone(input_ids=ids, attention_mask=self.mask[:, :end] if self.padded else None,
                            position_ids=self.places[:, start:end], past_key_values=self.cache, use_cache=True)
        self.cache = out.past_key_values
        return out.last_hidden_state[:, -1]


class LayerDecoder(Decoder):
    """Llama, Mistral, Qwen2 and Qwen3: the backbone's layers are called one by one.

    The same numbers as `Decoder`, without what the backbone does anew at every call: rotations and masks are made once.
    """

    def __init__(self, model: nn.Module, attention_mask: Tensor, new_tokens: int):
        from transformers import DynamicCache

        super().__init__(model, attention_mask, new_tokens)
        self.cache = DynamicCache()
        places = self.places if self.padded else self.places[:1]
        self.rotations = self.backbone.rotary_emb(self.backbone.embed_tokens.weight, places)

    def repeat(self, count: int) -> None:
        super().repeat(count)
        if self.padded:
            self.rotations = tuple(each.repeat_interleave(count, 0) for each in self.rotations)

    def last_state(self, ids: Tensor, start: int, end: int) -> Tensor:
        rotations = tuple(each[:, start:end] for each in self.rotations)
        mask = self.attended(start, end) if self.padded else None
        state = self.backbone.embed_tokens(ids)
        for layer in self.backbone.layers:
            state = layer(state, attention_mask=mask, position_embeddings=rotations, past_key_values=self.cache, use_cache=True)
        return self.backbone.norm(state[:, -1])

    def attended(self, start: int, end: int) -> Tensor:
        """True [B, 1, end − start, end] where a query sees a key: real tokens up to itself, and itself though it be padding.

        (A query that sees nothing gives NaN in versions of torch before 2.5.)
        """
        keys = torch.arange(end, device=self.mask.device)
        queries = keys[start:, None]
        return ((self.mask[:, None, None, :end] != 0) & (keys <= queries)) | (keys == queries)


def can_run_layers(model: nn.Module) -> bool:
    """Whether `LayerDecoder` computes what the model does: full attention by sdpa, fixed rotations, and no hooks to call."""
    backbone, config = backbone_and_head(model)[0], model.config
    if config.model_type not in LAYERED or not hasattr(backbone, "layers"):
        return False
    sliding = set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}
    sliding = sliding or config.model_type == "mistral" and config.sliding_window is not None
    hooked = backbone._forward_hooks or backbone._forward_pre_hooks
    takes_cache = "past_key_values" in inspect.signature(backbone.layers[0].forward).parameters
    return (not sliding and not hooked and takes_cache and config._attn_implementation == "sdpa"
            and backbone.rotary_emb.rope_type in FIXED_ROTATIONS)
