"""The whole method on one page, in the paper's order; each stage can also be called alone on the run folder it left."""

from collections.abc import Sequence
from pathlib import Path

from dreambooth import adapters, models
from dreambooth.adapters import Adapter
from dreambooth.config import Config, idle
from dreambooth.config.machine import check_machine, check_reach
from dreambooth.data.dataset import encode_once, examples
from dreambooth.data.masks import check_masks
from dreambooth.doctor.faults import warn_of
from dreambooth.doctor.photos import examine_photos, require_usable
from dreambooth.doctor.seen import examine_seen
from dreambooth.errors import ModelError, RunError
from dreambooth.evaluation import Judges, fit_of, load_judges
from dreambooth.evaluation.subject_masks import subject_masks
from dreambooth.finetuning import Observer, finetune
from dreambooth.generation.generate import generate_in
from dreambooth.generation.in_run import live_samples, personal_model, prompts_of
from dreambooth.generation.prompts import CLASS_PROMPT, Prompt, own_prompts, warn_of_nameless
from dreambooth.generation.samples import Sample
from dreambooth.identifier import comparison, with_identifier
from dreambooth.models.base import DiffusionModel
from dreambooth.plan import in_run as planning
from dreambooth.prior import class_prior, seen_in
from dreambooth.probe import Probe, restore_verdict
from dreambooth.probe.measuring import Reference
from dreambooth.probe.scoring import FOLDERS, score_run
from dreambooth.report.write import write_all
from dreambooth.run import Run
from dreambooth.run.extend import extend
from dreambooth.run.measured import read_measured
from dreambooth.run.records import BASE, MODEL, SAMPLES, WORLD_FIT, BaseModel
from dreambooth.run.timing import read_timings, timed
from dreambooth.subject import Subject, require_class_noun
from dreambooth.support.device import device
from dreambooth.support.files import seals
from dreambooth.support.progress import log


def dreambooth(subject: Subject, config: Config, root: Path | str) -> Run:
    """Sections 3 and 4 of Ruiz et al. (2023), in order: a few photos in, a personalised model and a report out.

    root: the run folder; the same call on the same folder resumes where it was stopped. Raises DreamBoothError for
    anything its caller can fix, before the first slow step wherever it can be known then.
    """
    check(subject, config)
    run = Run.create(Path(root).expanduser(), subject, config)
    before = read_timings(run)
    with run.lock():
        judges = open_judges(run)  # section 4.2: who measures; first, they see what is wrong with the photos
        check_world(run, judges)
        model = base_model(run)  # section 3.1: a pre-trained text-to-image model
        adapters.check(model, config)
        name_subject(run, model)  # section 3.2: a rare token, unless the user chose one
        reference = look_at_photos(run, judges)  # section 4.2: what it is measured against
        subject_masks(run, judges)  # where it is in them, for --masked-loss
        watched = planning.watch(run, model, before)
        probe = begin_probe(run, model, reference)
        class_images = generate_class_images(run, model)  # section 3.3: by the frozen model, before any weight moves
        generate_samples(run, model, "before")
        generate_untuned(run, model)
        personalise(run, model, class_images, probe)  # Eq. 2
        generate_samples(run, personal_model(run), "after")  # section 4
        score_samples(run, reference)  # section 4.2 again, of what the user looks at
        watched.end()
        report(run)
    return run


def plan(subject: Subject, config: Config, root: Path | str) -> str:
    """What `dreambooth` would need for it, in words: time, memory, disk and download, and what would need less.

    Nothing is written and no weight is downloaded. Raises as `dreambooth` does before its first slow step.
    """
    check(subject, config)
    return planning.plan(subject, config, Path(root).expanduser())


def resume(run: Run, max_train_steps: int | None = None, early_stopping: bool | None = None) -> Run:
    """Resume a run that was stopped, or train a finished one for more steps (`run.extend`); returns it."""
    with run.lock():
        extend(run, max_train_steps, early_stopping)
        if run.is_personalised:
            done = run.config.training.max_train_steps
            log.info("all %d steps are done: --max-train-steps with a larger number trains more", done)
    return dreambooth(run.subject, run.config, run.root)


def check(subject: Subject, config: Config) -> None:
    """Whether it can work, as far as can be known without a model; raises what is in errors.py."""
    check_machine(config)
    faults = examine_photos(subject.photos, config.data.resolution or config.world.resolution)
    require_usable(faults, subject.photos)
    warn_of(faults)
    check_masks(subject.photos, config.data.masked_loss)
    require_class_noun(subject.class_noun)
    own = config.generation.prompts
    warn_of_nameless(own_prompts(own) if own else (), subject, config.naming.identifier)
    check_reach(config)


def open_judges(run: Run) -> Judges | None:
    """The judges of the settings; None where nothing is left to measure.

    Raises ModelError for judges that cannot be found or opened.
    """
    if not _is_measured(run) or (run.is_personalised and (run.root / SAMPLES.name).exists()):
        return None
    with timed(run, "probe"):
        try:
            return load_judges(run.config.evaluation, run.config.world)
        except ModelError as error:
            raise ModelError(f"{error} To train without measuring, give --no-probe.") from error


def check_world(run: Run, judges: Judges | None = None) -> None:
    """Warn where the photos are of nothing that the base model can draw (world_fit.json), or have other faults."""
    fit = fit_of(run.subject.photos, run.config.world, judges)
    if fit is not None:
        WORLD_FIT.write(run.root, fit)
    if fit is not None and fit.foreign:
        log.warning("%s", fit.says)
    elif fit is not None or judges is not None:  # without either a CLIP would be opened for this alone
        warn_of(examine_seen(run.subject, run.config.world, judges))


def base_model(run: Run) -> DiffusionModel:
    """The model that the run starts from, on the GPU where there is one; base.json keeps which weights it had.

    Raises RunError where the run was begun with other weights, ConfigError for what the model cannot do.
    """
    with timed(run, "load"):
        model = models.load(run.config.base, run.config.data.resolution)
        model.to(device())
        models.check(model, run.config)
        mine = BaseModel(model=model.name, fingerprint=model.fingerprint())
        if (began := run.began_with(BASE, mine)) != mine:
            raise RunError(
                f"{run.root} was begun with {began.model}, and {mine.model} has other weights: give the "
                "--revision it had, or choose another --output-dir."
            )
        return model


def name_subject(run: Run, model: DiffusionModel | None = None, compare: bool = False) -> Subject:
    """Section 3.2: give the subject its identifier, or check the one it has.

    compare: measure how much it says to the model already, beside others that might have been chosen.
    """
    config, model = run.config, model or base_model(run)
    with timed(run, "identifier"):
        tokenizers = list(model.tokenizers.values())
        subject = with_identifier(run.subject, tokenizers, config.naming, config.seed, config.method)
        run.save_subject(subject)
        if compare and "identifier_tokens" not in idle(config.method.method):
            _compare_identifiers(run, model, subject)
    log.info('the subject is called "%s"', subject.name)
    return subject


def _compare_identifiers(run: Run, model: DiffusionModel, subject: Subject) -> None:
    judge = None
    if run.config.probe.probe:
        try:
            judge = load_judges(run.config.evaluation, run.config.world).dino
        except ModelError as error:
            log.warning("%s The identifiers are compared by their words alone.", error)
    for line in comparison(model, subject, run.config, judge):
        log.info("%s", line)


def generate_class_images(run: Run, model: DiffusionModel | None = None) -> tuple[Path, ...]:
    """Section 3.3: images of the class, drawn by the frozen model; those that are there already are kept."""
    model = model or base_model(run)
    with timed(run, "prior"):
        return class_prior(model, run.subject, run.config.prior, run, seen=seen_in(run.config.training))


def look_at_photos(run: Run, judges: Judges | None = None) -> Reference | None:
    """The photos as the judges see them; None where nothing is left to measure."""
    if (judges := judges or open_judges(run)) is None:
        return None
    run.require_same_photos()
    with timed(run, "probe"):
        return Reference.of(judges, run.subject, run.config.world)


def begin_probe(run: Run, model: DiffusionModel, reference: Reference | None = None) -> Probe | None:
    """Measure the untuned `model` against the photos; None where the fine-tuning is not, or no longer, measured.

    Raises RunError for other judges than the run was begun with.
    """
    if run.is_personalised or (reference := reference or look_at_photos(run)) is None:
        return None
    probe = Probe(run, reference)
    with timed(run, "probe"):
        probe.before(model)
    return probe


def personalise(
    run: Run,
    model: DiffusionModel | None = None,
    class_images: Sequence[Path] | None = None,
    probe: Probe | None = None,
) -> Path:
    """Eq. 2: fine-tune on photos and class images, and write the folder that diffusers opens; returns it.

    What the stages before have left may be handed on: the base model, the class images, the probe; else they run here.
    Its weights are those of the step that the probe recommends, or of the last one where nothing is measured.
    """
    if run.is_personalised:
        log.info("%s is complete", run.model)
        restore_verdict(run)
        return run.model
    run.require_same_photos()
    model = model or base_model(run)
    config = run.config
    subject = run.subject if run.subject.identifier else name_subject(run, model)
    probe = probe or begin_probe(run, model)
    class_images = generate_class_images(run, model) if class_images is None else class_images
    masks = subject_masks(run)
    with timed(run, "finetune"):
        for stage in adapters.tuned(model, config):
            its = run.stage(stage.name)
            rows = examples(subject, class_images, config.data, stage.resolution, config.seed, masks)
            dataset = encode_once(rows, stage.posterior, stage.low_res)
            adapter = adapters.attach(model, stage, subject, its.config)  # from here on some weights train
            its.root.mkdir(exist_ok=True)
            its_probe = probe.of_stage(its) if probe else None
            if adapter.parameter_groups():
                finetune(model, stage, adapter, dataset, its.config, its, [observer(its, adapter, its_probe)])
            if its_probe:
                its_probe.conclude(adapter)
            adapter.export(its.adapter)
            adapter.merge()
        model.save(run.model)
        MODEL.write(run.root, seals(run.model))
    return run.model


def generate_samples(run: Run, model: DiffusionModel, stage: str) -> list[Sample]:
    """Section 4: the run's prompts at the run's seeds, drawn by `model` to samples/<stage>."""
    with timed(run, f"samples {stage}"):
        return generate_in(run, model, stage, prompts_of(run))


def generate_untuned(run: Run, model: DiffusionModel) -> list[Sample]:
    """What the samples are measured from: their prompts with the class noun alone; none where nothing is measured.

    Not the class prompt itself: `generate_samples` draws it, before the fine-tuning too.
    """
    if not _is_measured(run):
        return []
    asked = dict.fromkeys(Prompt("class", prompt.template) for prompt in prompts_of(run))
    asked.pop(CLASS_PROMPT)
    with timed(run, "samples untuned"):
        return generate_in(run, model, FOLDERS["untuned"], list(asked))


def score_samples(run: Run, reference: Reference | None = None) -> None:
    """Section 4.2: the numbers of the samples, as the probe has those of its own, to samples.json, once."""
    if (run.root / SAMPLES.name).exists() or (reference := reference or look_at_photos(run)) is None:
        return
    with timed(run, "score"):
        SAMPLES.write(run.root, score_run(run, reference))
    for check in read_measured(run).in_samples_alone:
        log.warning("%s: %s %s", check.failure, check.says, check.change)


def observer(run: Run, adapter: Adapter, probe: Probe | None) -> Observer:
    """What watches the fine-tuning: the probe, or without one live samples of the first prompt and the class prompt."""
    if probe is None:
        return lambda step, model: live_samples(run, step, model)
    watching = probe.watching(adapter)

    def measure(step: int, model: DiffusionModel) -> bool:
        with timed(run, "probe"):
            return watching(step, model)

    return measure


def report(run: Run) -> Path:
    """Everything in one page, report.html, all pictures on one sheet, and the cards of the model; returns the page."""
    run.require_same_photos()
    return write_all(run)


def _is_measured(run: Run) -> bool:
    return run.config.probe.probe and run.config.training.max_train_steps > 0
