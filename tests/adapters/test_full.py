"""Full fine-tuning: which weights train, at what rate, and how they come back."""

import pytest
import torch

from dreambooth.config import Config, Training
from dreambooth.subject import Subject
from tiny import attached, tiny_model

SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")


@pytest.mark.parametrize("text_encoder", [False, True])
def test_exactly_the_chosen_parts_train(text_encoder: bool) -> None:
    model = tiny_model()
    adapter = attached(model, SUBJECT, Config.build({"train_text_encoder": text_encoder}))
    assert adapter.trains_text == text_encoder
    assert set(adapter.modules()) == ({"denoiser", "text_encoder"} if text_encoder else {"denoiser"})
    assert all(p.requires_grad for p in model.pipeline.unet.parameters())
    assert all(p.requires_grad == text_encoder for p in model.pipeline.text_encoder.parameters())
    assert not any(p.requires_grad for p in model.pipeline.vae.parameters())
    in_groups = [p for group in adapter.parameter_groups() for p in group["params"]]
    assert len(in_groups) == len(adapter.state()) == len({id(p) for p in in_groups})


def test_each_part_has_its_rate() -> None:
    both = attached(
        tiny_model(), SUBJECT, Config(training=Training(learning_rate=1e-3, text_encoder_lr=1e-4))
    ).parameter_groups()
    assert [group["lr"] for group in both] == [1e-3, 1e-4]
    same = attached(tiny_model(), SUBJECT, Config(training=Training(learning_rate=1e-3))).parameter_groups()
    assert [group["lr"] for group in same] == [1e-3, 1e-3]


def test_the_state_is_live_and_goes_into_another_model() -> None:
    config = Config.build({})
    model, other = tiny_model(seed=0), tiny_model(seed=1)
    mine, theirs = attached(model, SUBJECT, config), attached(other, SUBJECT, config)
    assert model.fingerprint() != other.fingerprint()
    theirs.load(mine.state())
    x_t, t = torch.randn(1, 4, 16, 16), torch.tensor([7])
    preds = [s.predict(x_t, t, s.condition(["a dog"])) for m in (model, other) for s in m.stages]
    assert torch.equal(*preds)
    with torch.no_grad():
        model.pipeline.unet.conv_in.weight.zero_()
    assert mine.state()["denoiser.conv_in.weight"].abs().max() == 0


def test_a_state_of_another_adapter_is_refused() -> None:
    model = tiny_model()
    frozen = attached(model, SUBJECT, Config.build({"train_text_encoder": False})).state()
    with pytest.raises(ValueError, match="names differ"):
        attached(model, SUBJECT, Config.build({})).load(frozen)
