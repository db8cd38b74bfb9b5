"""The whole method on one page, in the paper's order; each stage can also be called alone on the run folder it left."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from dreambooth import adapters, models
from dreambooth.adapters import Adapter
from dreambooth.config import Base, Config
from dreambooth.data.dataset import encode_once, examples
from dreambooth.data.photos import check_photos
from dreambooth.errors import ModelError, RunError
from dreambooth.evaluation import Judges, fit_of, load_judges
from dreambooth.finetuning import Observer, check_machine, finetune
from dreambooth.generation.generate import chosen_prompts, contact_sheet, generate
from dreambooth.generation.prompts import Prompt, own_prompts
from dreambooth.generation.samples import Sample, read_samples
from dreambooth.identifier import candidates, weak_priors, with_identifier
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.prior import class_prior
from dreambooth.probe import Draw, Probe
from dreambooth.probe.scoring import FOLDERS, score_run
from dreambooth.report.page import write_report
from dreambooth.run import Run
from dreambooth.run.records import read_measured, read_timings
from dreambooth.subject import IDENTIFIER_SLOT, Subject, require_class_noun
from dreambooth.support.files import broken_seal, seals, write_json
from dreambooth.support.progress import log


def dreambooth(subject: Subject, config: Config, root: Path | str) -> Run:
    """Sections 3 and 4 of Ruiz et al. (2023), in order: a few photos in, a personalised model and a report out.

    root: the run folder; the same call on the same folder goes on where it was stopped. Raises DreamBoothError for
    anything its caller can mend, before the first slow step wherever it can be known then.
    """
    check(subject, config)
    run = Run.create(Path(root).expanduser(), subject, config)
    with run.only_writer():
        check_world(run)
        model = base_model(run)  # section 3.1: a pre-trained text-to-image model
        adapters.check(model, config)
        name_subject(run, model)  # section 3.2: a rare token, unless the user chose one
        probe = begin_probe(run, model)  # section 4.2: what it is measured against
        draw_class_images(run, model)  # section 3.3: by the frozen model, before any weight moves
        draw_samples(run, model, "before")
        draw_untuned(run, model)
        personalise(run, model, probe)  # Eq. 2
        draw_samples(run, personal_model(run), "after")  # section 4
        score_samples(run, probe.judges if probe else None)  # section 4.2 again, of what the user looks at
        report(run)
    return run


def check(subject: Subject, config: Config) -> None:
    """Whether it can work, as far as can be known without a model; raises PhotoError, PromptError or ConfigError."""
    check_machine(config.training)
    check_photos(subject.photos)
    require_class_noun(subject.class_noun)
    own = config.generation.prompts
    for prompt in own_prompts(own) if own else ():
        names = [name for name in (IDENTIFIER_SLOT, config.naming.identifier, subject.identifier) if name]
        if not any(name in prompt.template for name in names):
            log.warning(
                "the prompt %r does not name your subject: write {} where its name belongs, as in "
                '"a {} in the snow". It is drawn as it is.',
                prompt.template,
            )


def check_world(run: Run) -> None:
    """Warn where the photos are of nothing that the base model can draw; world_fit.json keeps it for the report."""
    fit = fit_of(run.subject.photos, run.config.base.model)
    if fit is None:
        return
    write_json(run.root / "world_fit.json", fit.record)
    if fit.foreign:
        log.warning("%s", fit.says)


def base_model(run: Run) -> DiffusionModel:
    """The model that the run starts from, on the GPU where there is one; base.json keeps which weights it had.

    Raises RunError where the run was begun with other weights, ConfigError for what the model cannot do.
    """
    with timed(run, "load"):
        model = _placed(models.load(run.config.base))
        models.check(model, run.config)
        mine = {"model": model.name, "fingerprint": model.fingerprint()}
        if (began := run.began_with("base.json", mine)) != mine:
            raise RunError(
                f"{run.root} was begun with {began['model']}, and {mine['model']} has other weights: give the "
                "--revision it had, or choose another --output-dir."
            )
        return model


def personal_model(run: Run) -> DiffusionModel:
    """The model that the run made; raises RunError where it has not been made yet."""
    if not _is_personalised(run):
        there = "is not whole" if run.model.exists() else "has not been made yet"
        raise RunError(f"{run.model} {there}: make it with `dreambooth finetune {run.root}`.")
    return _placed(models.load(Base(model=str(run.model), dtype=run.config.base.dtype)))


def name_subject(run: Run, model: DiffusionModel | None = None, compare: bool = False) -> Subject:
    """Section 3.2: give the subject its identifier, or check the one it has.

    compare: measure how much it says to the model already, beside others that might have been chosen.
    """
    config, model = run.config, model or base_model(run)
    with timed(run, "identifier"):
        tokenizers = list(model.tokenizers.values())
        subject = with_identifier(run.subject, tokenizers, config.naming, config.seed, config.method)
        run.save_subject(subject)
        if compare and config.method.method in ("dreambooth", "lora"):
            for line in compared(run, model, subject):
                log.info("%s", line)
    log.info('the subject is called "%s"', subject.name)
    return subject


def compared(run: Run, model: DiffusionModel, subject: Subject) -> Iterator[str]:
    """A table of the subject's identifier and seven others, the weakest prior first; with pictures where judges are."""
    config, tokenizers = run.config, list(model.tokenizers.values())
    others = candidates(tokenizers, config.naming.identifier_tokens, config.seed, 8)
    identifiers = list(dict.fromkeys([str(subject.identifier), *others]))[:8]
    judge, sampling = None, None
    if config.probe.probe:
        try:
            judge = load_judges(config.evaluation, config.base.model).dino
            sampling = Sampling(
                sampler=model.samplers[-1],
                num_inference_steps=config.probe.probe_num_inference_steps,
                guidance_scale=config.generation.guidance_scale,
            )
        except ModelError as error:
            log.warning("%s The identifiers are compared by their words alone.", error)
    yield f'what each says beside "a {subject.class_noun}" to the untuned model; 0 is nothing, the weakest is first:'
    yield "identifier        words  pictures"
    for prior in weak_priors(model, subject.class_noun, identifiers, judge, sampling):
        pictures = "       -" if prior.pictures is None else f"{prior.pictures:8.3f}"
        mark = "  chosen" if prior.identifier == subject.identifier else ""
        yield f"{prior.identifier:<16}{prior.words:7.3f}  {pictures}{mark}"


def draw_class_images(run: Run, model: DiffusionModel | None = None) -> tuple[Path, ...]:
    """Section 3.3: images of the class, drawn by the frozen model; those that are there already are kept."""
    model = model or base_model(run)
    with timed(run, "prior"):
        return class_prior(model, run.subject, run.config, run)


def begin_probe(run: Run, model: DiffusionModel) -> Probe | None:
    """Open the judges, and measure the photos and the untuned `model`; None where nothing will be measured.

    Raises ModelError for judges that cannot be found or opened, RunError for others than the run was begun with.
    """
    if not _is_measured(run) or _is_personalised(run):
        return None
    run.require_same_photos()
    with timed(run, "probe"):
        try:
            judges = load_judges(run.config.evaluation, run.config.base.model)
        except ModelError as error:
            raise ModelError(f"{error} To train without measuring, give --no-probe.") from error
        probe = Probe(run, judges, _few(run))
        probe.before(model)
    return probe


def personalise(run: Run, model: DiffusionModel | None = None, probe: Probe | None = None) -> Path:
    """Eq. 2: fine-tune on photos and class images, and write the folder that diffusers opens; returns it.

    Its weights are those of the step that the probe recommends, or of the last one where nothing is measured.
    """
    if _is_personalised(run):
        log.info("%s is complete", run.model)
        return run.model
    run.require_same_photos()
    model = model or base_model(run)
    config = run.config
    subject = run.subject if run.subject.identifier else name_subject(run, model)
    probe = probe or begin_probe(run, model)
    class_images = draw_class_images(run, model)
    with timed(run, "finetune"):
        for stage in model.stages:
            rows = examples(subject, class_images, config.data, stage.resolution, config.seed)
            encoded = encode_once(rows, stage.posterior)
            adapter = adapters.attach(model, stage, subject, config)  # from here on some weights train
            its = run.stage(stage.name)
            if adapter.parameter_groups():
                finetune(model, stage, adapter, encoded, config, its, [observer(run, adapter, probe)])
            if probe:
                probe.conclude(adapter)
            adapter.export(its.adapter)
            adapter.merge()
        model.save(run.model)
        write_json(run.root / "model.json", seals(run.model))
    return run.model


def draw_samples(run: Run, model: DiffusionModel, stage: str) -> list[Sample]:
    """Section 4: the run's prompts at the run's seeds, drawn by `model` to samples/<stage>."""
    with timed(run, f"samples {stage}"):
        return generate(model, run.subject, run.config, run.samples / stage, _prompts(run))


def draw_untuned(run: Run, model: DiffusionModel) -> list[Sample]:
    """What the samples are measured from: their prompts with the class noun alone; none where nothing is measured."""
    if not _is_measured(run):
        return []
    asked = dict.fromkeys(Prompt("class", prompt.template) for prompt in _prompts(run))
    with timed(run, "samples untuned"):
        return generate(model, run.subject, run.config, run.samples / FOLDERS["untuned"], list(asked))


def score_samples(run: Run, judges: Judges | None = None) -> None:
    """Section 4.2: the numbers of the samples, as the probe has those of its own, to samples.json, once."""
    target = run.root / "samples.json"
    if not _is_measured(run) or target.exists():
        return
    with timed(run, "score"):
        judges = judges or load_judges(run.config.evaluation, run.config.base.model)
        write_json(target, score_run(run, judges).record)
    told = read_measured(run)
    for check in told.findings[len(told.diagnosis.findings) if told.diagnosis else 0 :]:
        log.warning("%s: %s %s", check.failure, check.says, check.change)


def observer(run: Run, adapter: Adapter, probe: Probe | None) -> Observer:
    """What watches the fine-tuning: the probe, or without one live samples of the first prompt and the class prompt."""
    if probe is None:
        return lambda step, model: _live_samples(run, step, model)
    watching = probe.watching(adapter)

    def measure(step: int, model: DiffusionModel) -> bool:
        with timed(run, "probe"):
            return watching(step, model)

    return measure


def _live_samples(run: Run, step: int, model: DiffusionModel) -> None:
    config = run.config
    if step < config.training.max_train_steps:  # the last step is drawn in full, as "after"
        first, *_, class_prompt = _prompts(run)
        few = _with_generation(config, num_images_per_prompt=min(2, config.generation.num_images_per_prompt))
        generate(model, run.subject, few, run.samples / f"step-{step:06d}", [first, class_prompt])


def _few(run: Run) -> Draw:
    config = run.config

    def draw(model: DiffusionModel, stage: str, prompts: Sequence[Prompt], seeds: int) -> list[Sample]:
        few = _with_generation(
            config,
            sampler=model.samplers[-1],
            num_inference_steps=config.probe.probe_num_inference_steps,
            num_images_per_prompt=seeds,
        )
        return generate(model, run.subject, few, run.samples / stage, prompts)

    return draw


def _with_generation(config: Config, **settings: object) -> Config:
    return config.model_copy(update={"generation": config.generation.model_copy(update=settings)})


def draw(run: Run, prompts: Sequence[str]) -> list[Sample]:
    """Draw more pictures with the personalised model, to samples/own; prompts hold {} where the subject's name goes.

    Older pictures stay, and the same words give the same pictures whatever else is asked for.
    Raises RunError where the run has no model yet, PromptError for an unusable prompt.
    """
    wanted = own_prompts(prompts)[: len(prompts)]
    with run.only_writer():
        model, subject, config, folder = personal_model(run), run.subject, run.config, run.samples / "own"
        each = [generate(model, subject, config, folder, [prompt], keep_others=True) for prompt in wanted]
        return [sample for samples in each for sample in samples]


def report(run: Run) -> Path:
    """Everything in one page, report.html, and all pictures on one sheet, contact-sheet.png; returns the page."""
    run.require_same_photos()
    before, after = (read_samples(run.samples / stage) for stage in ("before", "after"))
    contact_sheet(run.root / "contact-sheet.png", run.subject.photos, before, after)
    return write_report(run)


@contextmanager
def timed(run: Run, stage: str) -> Iterator[None]:
    """Add the seconds inside to the stage's entry in timings.json: a run that was resumed adds up.

    Seconds of a stage inside another count for the inner one alone.
    """
    began, before = time.monotonic(), sum(read_timings(run).values())
    try:
        yield
    finally:
        timings = read_timings(run)
        seconds = time.monotonic() - began - (sum(timings.values()) - before)
        write_json(run.root / "timings.json", {**timings, stage: round(timings.get(stage, 0.0) + seconds, 3)})


def _prompts(run: Run) -> Sequence[Prompt]:
    return chosen_prompts(run.config.base.model, run.subject, run.config)


def _is_measured(run: Run) -> bool:
    return run.config.probe.probe and run.config.training.max_train_steps > 0


def _is_personalised(run: Run) -> bool:
    """Whether model/ is there and as it was written; from the last checkpoint it is made again within seconds."""
    if not run.model.is_dir():
        return False
    try:
        broken = broken_seal(run.model, run.read_record("model.json", dict[str, str]))
    except RunError:
        return False  # it was stopped before it was sealed
    if broken is not None:
        log.warning("%s is not as this run wrote it: the model is not used", run.model / broken)
    return broken is None


def _placed(model: DiffusionModel) -> DiffusionModel:
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return model
