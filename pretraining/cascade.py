"""The parts of the embedded cascade, in DeepFloyd IF's form: a T5 encoder, a base of 16 px, super-resolution to 64 px.

Both U-Nets put out six channels, v and the range of the variance, as IF's put out epsilon and that range. v, since one
short training must teach what the highest noise, where epsilon says least, hides.
"""

import math
import random
from collections import Counter

from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnAddedKVProcessor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from dreambooth.identifier import SENTENCEPIECE_WINDOW
from dreambooth.toybox import captions
from pretraining import renders, text_encoder

TOKENS = 77  # what diffusers' IF pipelines pad every prompt to
TEXT_WIDTH = 128
BASE_SIDE, SIDE = 16, 64  # in pixels
COUNTED = 4000  # captions whose words are counted


def build_tokenizer() -> T5Tokenizer:
    """A Unigram tokenizer: a piece for each word of the world's captions and each rare string, and every letter.

    A word is as likely as it is frequent, a rare string half as likely as the rarest word; letters are a last resort.
    The rare strings stand where the paper looks for them in T5's vocabulary.
    """
    rng = random.Random("unigram")
    counts: Counter[str] = Counter(dict.fromkeys(captions.words(), 1))
    for truth in renders.truths_of(0, COUNTED):
        counts.update(truth.caption(rng).split())
    total = counts.total()
    pieces = {f"▁{word}": math.log(count / total) for word, count in counts.most_common()}
    rare = {f"▁{word}": math.log(0.5 / total) for word in text_encoder.RARE}
    letters = dict.fromkeys(["▁", *(chr(code) for code in range(33, 127))], -25.0)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -50.0)]
    first = round((len(special) + len(pieces) + len(rare) + len(letters)) * SENTENCEPIECE_WINDOW[0]) - len(special)
    words = list(pieces.items())
    vocab = [*special, *words[:first], *rare.items(), *words[first:], *letters.items()]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=TOKENS)


def build_text_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """A fresh T5 encoder of the published ones' kind (1.1: a gated GELU, no dropout here)."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=TEXT_WIDTH,
        d_kv=32,
        d_ff=256,
        num_layers=3,
        num_heads=4,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=32,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5EncoderModel(config)


def build_base() -> UNet2DConditionModel:
    """A fresh base: pixels of 16 x 16 and words."""
    return _unet(sample_size=BASE_SIDE, in_channels=3, block_out_channels=(32, 64, 128), attends=(False, True, True))


def build_super_resolution() -> UNet2DConditionModel:
    """A fresh super-resolution stage: pixels of 64 x 64, the base's picture beside them, how noisy it is, and words."""
    return _unet(
        sample_size=SIDE,
        in_channels=6,
        block_out_channels=(16, 32, 64),
        attends=(False, False, True),
        class_embed_type="timestep",
        time_embedding_act_fn="gelu",
        mid_block_scale_factor=2**0.5,
        resnet_skip_time_act=True,
        resnet_out_scale_factor=2**0.5,
    )


def _unet(*, attends: tuple[bool, ...], **shape: object) -> UNet2DConditionModel:
    down = ("SimpleCrossAttnDownBlock2D" if here else "ResnetDownsampleBlock2D" for here in attends)
    up = ("SimpleCrossAttnUpBlock2D" if here else "ResnetUpsampleBlock2D" for here in reversed(attends))
    unet = UNet2DConditionModel(
        out_channels=6,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        encoder_hid_dim=TEXT_WIDTH,
        encoder_hid_dim_type="text_proj",
        attention_head_dim=32,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        norm_num_groups=8,
        **shape,
    )
    unet.set_attn_processor(AttnAddedKVProcessor())  # written out: the fused kernel's backward is slower on a CPU
    return unet


def scheduler() -> DDPMScheduler:
    """IF's schedule, of v, whose steps begin in pure noise."""
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        variance_type="learned_range",
        timestep_spacing="trailing",
        clip_sample=False,
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.0,
    )


def noising_scheduler() -> DDPMScheduler:
    """The schedule of the noise that is added to the base's picture before super-resolution reads it."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2")
