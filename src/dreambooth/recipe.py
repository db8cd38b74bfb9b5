"""The whole method on one page, in the paper's order; each stage can also be called alone on the run folder it left."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dreambooth import adapters, models
from dreambooth.along import begin_stage
from dreambooth.config import Config, idle
from dreambooth.doctor.beforehand import check
from dreambooth.doctor.faults import warn_of
from dreambooth.doctor.seen import examine_seen
from dreambooth.errors import ModelError, RunError
from dreambooth.evaluation import Judges, fit_of, load_judges, warned_of
from dreambooth.evaluation.subject_masks import subject_masks
from dreambooth.finetuning import finetune
from dreambooth.generation.generate import generate_in
from dreambooth.generation.in_run import live_samples, prompts_of
from dreambooth.generation.prompts import CLASS_PROMPT, Prompt, together
from dreambooth.identifier import with_identifier
from dreambooth.models.base import DiffusionModel
from dreambooth.personal import personal_model
from dreambooth.plan import in_run as planning
from dreambooth.prior import class_prior, seen_in
from dreambooth.probe import Probe, observing, restore_verdict
from dreambooth.probe.measuring import Reference
from dreambooth.probe.scoring import FOLDERS, score_run
from dreambooth.report.write import write_all
from dreambooth.run import Run
from dreambooth.run.choice import changes, choose
from dreambooth.run.companions import companions, create, each, naming_of
from dreambooth.run.extend import extend
from dreambooth.run.measured import read_measured
from dreambooth.run.records import BASE, MODEL, SAMPLES, WORLD_FIT, BaseModel
from dreambooth.run.timing import read_timings, timed
from dreambooth.subject import Subject
from dreambooth.support.device import device
from dreambooth.support.distributed import world
from dreambooth.support.files import require_space, seals
from dreambooth.support.progress import log
from dreambooth.weak_prior import show_weak_priors


def dreambooth(
    subject: Subject, config: Config, root: Path | str, also: Sequence[Subject] = (), patience: float = 0.0
) -> Run:
    """Sections 3 and 4 of Ruiz et al. (2023), in order: a few photos in, a personalised model and a report out.

    root: the run folder; the same call on the same folder resumes where it was stopped.  also: further subjects that
    the same model learns, in turns.  patience: seconds to wait for another process that holds the folder. Raises
    DreamBoothError for anything its caller can fix, before the first slow step wherever it can be known then.
    """
    check(subject, config, also)
    run = create(Path(root).expanduser(), [subject, *also], config)
    before = read_timings(run)
    with run.lock(patience, whole=True):
        judges = open_judges(run)  # section 4.2: who measures; first, they see what is wrong with the photos
        for its in each(run):
            check_world(its, judges)
        model = base_model(run)  # section 3.1: a pre-trained text-to-image model
        if not run.is_personalised:  # a finished run is only reported on, or drawn from
            adapters.check(model, config)
        for its in each(run):
            name_subject(its, model)  # section 3.2: a rare token, unless the user chose one
            subject_masks(its, judges)  # where it is in its photos, for --masked-loss
        references = look_at_photos(run, judges)  # section 4.2: what they are measured against
        watched = planning.watch(run, model, before)
        probe = begin_probe(run, model, references)
        class_images = generate_class_images(run, model)  # section 3.3: by the frozen model, before any weight moves
        generate_samples(run, model, "before")
        generate_untuned(run, model)
        personalise(run, model, class_images, probe)  # Eq. 2
        model.let_go()  # two models would not fit where one does
        draw_and_score(run, personal_model(run), references)  # section 4, of what the user looks at
        watched.end()
        report(run)
    return run


def plan(subject: Subject, config: Config, root: Path | str, also: Sequence[Subject] = ()) -> str:
    """What `dreambooth` would need, in words, and what would need less; it writes nothing and raises as that does."""
    check(subject, config, also)
    for its in (subject, *also):
        warned_of(fit_of(its.photos, config.world))
    return planning.plan([subject, *also], config, Path(root).expanduser())


def resume(
    run: Run | Path | str,
    max_train_steps: int | None = None,
    early_stopping: bool | None = None,
    use_step: int | None = None,
) -> Run:
    """Resume a run that was stopped, or a finished one: for more steps (`run.extend`), or at another (`run.choice`).

    run: it, or its folder.
    """
    run = Run.at(run)
    also = [companion.subject for companion in companions(run)]
    with run.lock():
        if changes(use_step, max_train_steps, early_stopping):
            check(run.subject, run.config, also)  # before anything that is there is put away
        extend(run, max_train_steps, early_stopping)
        choose(run, use_step)
        if run.is_personalised:
            log.info("all %d steps are done: --max-train-steps trains more", run.config.training.max_train_steps)
    return dreambooth(run.subject, run.config, run.root, also)


def open_judges(run: Run) -> Judges | None:
    """The judges of the settings; None where nothing is left to measure.

    Raises ModelError for judges that cannot be found or opened.
    """
    if not _is_measured(run) or (run.is_personalised and all((its.root / SAMPLES.name).exists() for its in each(run))):
        return None
    with timed(run, "probe"):
        try:
            return load_judges(run.config.evaluation, run.config.world)
        except ModelError as error:
            raise ModelError(f"{error} To train without measuring, give --no-probe.") from error


def check_world(run: Run, judges: Judges | None = None) -> None:
    """Warn where the photos are of nothing that the base model can draw (world_fit.json), or have other faults."""
    if (fit := fit_of(run.subject.photos, run.config.world, judges)) is not None:
        WORLD_FIT.write(run.root, fit)
    told = warned_of(fit)
    if not told and (fit is not None or judges is not None):  # without either a CLIP would be opened for this alone
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
        naming, taken = naming_of(run)
        subject = with_identifier(run.subject, tokenizers, naming, config.seed, config.method, taken)
        run.save_subject(subject)
        if compare and "identifier_tokens" not in idle(config.method.method):
            show_weak_priors(model, subject, config)
    log.info('the subject is called "%s"', subject.name)
    return subject


def name_subjects(run: Run) -> list[Subject]:
    """The same for every subject of the run, each compared with other identifiers."""
    model = base_model(run)
    return [name_subject(its, model, compare=True) for its in each(run)]


def generate_class_images(run: Run, model: DiffusionModel | None = None) -> list[tuple[Path, ...]]:
    """Section 3.3: of each subject, images of its class by the frozen model; those that are there already are kept."""
    model, seen = model or base_model(run), seen_in(run.config.training, len(each(run)))
    with timed(run, "prior"):
        return [class_prior(model, its.subject, run.config.prior, its, seen=seen) for its in each(run)]


def look_at_photos(run: Run, judges: Judges | None = None) -> list[Reference]:
    """Each subject's photos as the judges see them; none where nothing is left to measure."""
    if (judges := judges or open_judges(run)) is None:
        return []
    for its in each(run):
        its.require_same_photos()
    with timed(run, "probe"):
        return [Reference.of(judges, its.subject, run.config.world) for its in each(run)]


def begin_probe(run: Run, model: DiffusionModel, references: Sequence[Reference] = ()) -> Probe | None:
    """Measure the untuned `model` against the photos; None where the fine-tuning is not, or no longer, measured.

    Raises RunError for other judges than the run was begun with.
    """
    if run.is_personalised or not (references := references or look_at_photos(run)):
        return None
    first, *others = map(Probe, each(run), references)
    probe = Probe(first.run, first.reference, others)
    with timed(run, "probe"):
        probe.before(model)
    return probe


def personalise(
    run: Run,
    model: DiffusionModel | None = None,
    class_images: Sequence[Sequence[Path]] | None = None,
    probe: Probe | None = None,
) -> Path:
    """Eq. 2: fine-tune on photos and class images, and write the folder that diffusers opens; returns it.

    What the stages before have left may be handed on: the base model, each subject's class images, the probe; else they
    run here.
    Its weights are those of the step that the probe recommends, or of the last one where nothing is measured.
    """
    if run.is_personalised:
        log.info("%s is complete", run.model)
        restore_verdict(run)
        return run.model
    model = model or base_model(run)
    config = run.config
    require_space(run.root, model.weights.written, "the personalised model")
    for its in each(run):
        its.require_same_photos()
        if not its.subject.identifier:
            name_subject(its, model)
    probe = probe or begin_probe(run, model)
    class_images = generate_class_images(run, model) if class_images is None else class_images
    with timed(run, "finetune"):
        world().call(str(run.root.absolute()))
        for stage in adapters.tuned(model, config):
            its = run.stage(stage.name)
            adapter, dataset = begin_stage(run, model, stage, class_images)  # from here on some weights train
            for one in each(its):
                one.root.mkdir(exist_ok=True)
            its_probe = probe.of_stage(its) if probe else None
            if adapter.parameter_groups():
                watching, asked = observing(its, adapter, its_probe), partial(live_samples, its)
                finetune(model, stage, adapter, dataset, its.config, its, [watching], on_request=asked)
            if its_probe:
                its_probe.conclude(adapter)
            adapter.export(its.adapter)
            adapter.merge()
        model.save(run.model)
        MODEL.write(run.root, seals(run.model))
    return run.model


def generate_samples(run: Run, model: DiffusionModel, stage: str) -> list[Path]:
    """Section 4: of each subject, the run's prompts at the run's seeds, drawn by `model` to these samples/<stage>."""
    for its in each(run):
        with timed(its, f"samples {stage}"):
            generate_in(its, model, stage, prompts_of(its))
    return [its.samples / stage for its in each(run)]


def generate_untuned(run: Run, model: DiffusionModel) -> None:
    """What the samples are measured from: their prompts with the class noun alone; none where nothing is measured.

    Not the class prompt itself: `generate_samples` draws it, before the fine-tuning too.
    """
    for its in each(run) if _is_measured(run) else ():
        asked = dict.fromkeys(Prompt("class", prompt.template) for prompt in prompts_of(its))
        asked.pop(CLASS_PROMPT)
        with timed(its, "samples untuned"):
            generate_in(its, model, FOLDERS["untuned"], list(asked))


def draw_and_score(run: Run, model: DiffusionModel, references: Sequence[Reference]) -> None:
    """Section 4: each subject's samples by the tuned model and their numbers, and all subjects in one picture."""
    generate_samples(run, model, "after")
    for its, reference in zip(each(run), references, strict=False):
        score_samples(its, reference)
    if prompts := together([its.subject for its in each(run)]):
        generate_in(run, model, "together", prompts)


def score_samples(run: Run, reference: Reference) -> None:
    """Section 4.2: the numbers of the samples, as the probe has those of its own, to samples.json, once."""
    if (run.root / SAMPLES.name).exists():
        return
    with timed(run, "score"):
        SAMPLES.write(run.root, score_run(run, reference))
    for failed in read_measured(run).in_samples_alone:
        log.warning("%s: %s %s", failed.failure, failed.says, failed.change)


def report(run: Run) -> Path:
    """Everything in one page, report.html, all pictures on one sheet, and the cards of the model; returns the page."""
    for its in reversed(each(run)):  # the page of all is the first subject's
        its.require_same_photos()
        page = write_all(its)
    return page


def _is_measured(run: Run) -> bool:
    return run.config.probe.probe and run.config.training.max_train_steps > 0
