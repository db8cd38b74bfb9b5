"""What the embedded judges start from."""

import torch
from transformers import ViTConfig, ViTModel

from pretraining import judge_clip, judge_renders, text_encoder
from pretraining.sizes import SIZES


def test_clips_vision_tower_starts_as_the_vit_but_for_its_first_norm() -> None:
    torch.manual_seed(0)
    size = SIZES["embedded"]
    vit = ViTModel(ViTConfig(image_size=128, layer_norm_eps=1e-5, **judge_renders.VISION), add_pooling_layer=False)
    torch.nn.init.normal_(vit.embeddings.patch_embeddings.projection.bias)
    torch.nn.init.normal_(vit.layernorm.bias)
    clip = judge_clip.build(size, text_encoder.build_tokenizer(size))
    judge_clip.see_as(clip.vision_model, vit)
    clip.vision_model.pre_layrnorm = torch.nn.Identity()
    pictures = torch.rand(2, 3, 128, 128)
    seen, expected = clip.eval().vision_model(pictures).pooler_output, vit.eval()(pictures).last_hidden_state[:, 0]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)
