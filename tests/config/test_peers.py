"""Flags of other tools: every row of the table is taken as ours, or answered with flags that exist."""

import re

import pytest

from dreambooth import __version__, cli
from dreambooth.config.commands import parser
from dreambooth.config.flags import given_settings
from dreambooth.config.peers import ANSWERS, COMMANDS, SAME, with_aliases

RUN = ["run", "photos", "--class-noun", "dog"]
LINES = [RUN, ["generate", "runs/dog"], ["continue", "runs/dog"]]
TOP = parser(__version__)
OURS = {flag for words in LINES for flag in TOP.named(words)._option_string_actions}


@pytest.mark.parametrize(("ours", "theirs"), [(ours, alias) for ours in SAME for alias in SAME[ours]])
def test_a_flag_that_means_the_same_is_taken(ours: str, theirs: str) -> None:
    taken = 0
    for words in LINES:
        action = TOP.named(words)._option_string_actions.get(ours)
        if action and action.option_strings[0] == ours:
            for spelling in (theirs, theirs.replace("-", "_").replace("__", "--", 1)):
                mine, its = (TOP.parse([*words, flag, "7"]) for flag in (ours, spelling))
                assert mine == its and getattr(mine, action.dest) not in (None, [])
                taken += 1
    assert taken, f"no command has {ours}"


@pytest.mark.parametrize("flag", ANSWERS)
@pytest.mark.parametrize("value", [[], ["value"]])
def test_a_flag_of_another_meaning_is_answered(flag: str, value: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    underscored = "--" + flag[2:].replace("-", "_")
    for words in ([*RUN, flag, *value], [*RUN, underscored, *value], ["run", flag, *value, "photos"]):
        assert cli.main(words, __version__) == 2
        said = capsys.readouterr().err
        assert said == f"dreambooth: There is no flag {flag}. {ANSWERS[flag]}\n"
        assert not re.search("Did you mean|required", said)


@pytest.mark.parametrize("flag", ANSWERS)
def test_an_answer_names_flags_that_exist(flag: str) -> None:
    assert flag not in OURS
    for named in re.findall(r"--[a-z][a-z0-9-]*", ANSWERS[flag]):
        assert named in OURS | {"--push-to-hub"}, f"the answer to {flag} names {named}"  # that of export


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--crop", ("center", "random")),
        ("--lr-scheduler", ("constant", "linear", "cosine")),
        ("--method", ("lora",)),
        ("--lora-type", ("dora",)),
        ("--base-bits", ("8", "4")),
        ("--prediction-type", ("v_prediction",)),
    ],
)
def test_an_answer_gives_values_that_exist(flag: str, values: tuple[str, ...]) -> None:
    told = TOP.named(RUN)._option_string_actions[flag].metavar
    assert isinstance(told, str) and set(values) <= set(told.split("|"))
    assert all(any(value in says for says in ANSWERS.values() if flag in says) for value in values)


def test_no_name_has_two_meanings() -> None:
    aliases = [alias for ours in SAME for alias in SAME[ours]]
    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & ANSWERS.keys()
    assert not ANSWERS.keys() & OURS


@pytest.mark.parametrize("theirs", COMMANDS)
def test_a_command_of_another_tool_is_answered_with_ours(theirs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS[theirs] in {"--help", *TOP.commands()} and theirs not in TOP.commands()
    assert cli.main([theirs, "photos", "--report-to", "x"], __version__) == 2
    said = capsys.readouterr().err
    assert said == f"dreambooth: There is no command {theirs}. Did you mean `dreambooth {COMMANDS[theirs]}`?\n"


DIFFUSERS = """
    pretrained_model_name_or_path revision variant tokenizer_name instance_data_dir class_data_dir instance_prompt
    class_prompt with_prior_preservation prior_loss_weight num_class_images output_dir seed resolution center_crop
    train_text_encoder train_batch_size sample_batch_size num_train_epochs max_train_steps checkpointing_steps
    checkpoints_total_limit resume_from_checkpoint gradient_accumulation_steps gradient_checkpointing learning_rate
    scale_lr lr_scheduler lr_warmup_steps lr_num_cycles lr_power use_8bit_adam dataloader_num_workers adam_beta1
    adam_beta2 adam_weight_decay adam_epsilon max_grad_norm push_to_hub hub_token hub_model_id logging_dir allow_tf32
    report_to validation_prompt num_validation_images validation_steps mixed_precision prior_generation_precision
    local_rank enable_xformers_memory_efficient_attention set_grads_to_none offset_noise snr_gamma
    pre_compute_text_embeddings tokenizer_max_length rank lora_dropout use_dora text_encoder_lr placeholder_token
    initializer_token learnable_property num_vectors repeats random_flip validation_epochs cache_dir dataset_name
"""
KOHYA = """
    network_dim network_alpha network_module network_train_unet_only network_weights unet_lr text_encoder_lr
    max_train_epochs save_every_n_steps save_every_n_epochs sample_every_n_steps sample_prompts train_data_dir
    reg_data_dir output_name optimizer_type min_snr_gamma noise_offset cache_latents xformers sdpa clip_skip vae
    max_data_loader_n_workers enable_bucket flip_aug color_aug caption_extension save_model_as save_precision resume
    log_with wandb_api_key huggingface_repo_id v2 v_parameterization full_bf16 no_half_vae lowram
"""


@pytest.mark.parametrize("name", sorted({*DIFFUSERS.split(), *KOHYA.split()}))
def test_the_flags_of_the_scripts_that_people_come_from_are_known(name: str) -> None:
    flag = "--" + name.replace("_", "-")
    assert flag in OURS | ANSWERS.keys() | {"--instance-data-dir"}


def test_our_own_flags_may_have_underscores() -> None:
    for flag, action in TOP.named(RUN)._option_string_actions.items():
        if flag.startswith("--") and action.dest in TOP.parse(RUN).settings:
            value = [] if action.nargs == 0 else ["7"]
            spellings = [TOP.parse([*RUN, spelling, *value]) for spelling in (flag, "--" + flag[2:].replace("-", "_"))]
            assert given_settings(spellings[0]) == given_settings(spellings[1]) != {}


def test_the_help_is_of_our_own_names() -> None:
    text = TOP.named(RUN).format_help(everything=True)
    for alias in {alias for ours in SAME for alias in SAME[ours]} - {"--num-images-per-prompt"}:
        assert not re.search(rf"{alias}\b(?!-)", text), alias
    assert with_aliases("--learning-rate")[0] == "--learning-rate" and with_aliases("--crop") == ("--crop",)
