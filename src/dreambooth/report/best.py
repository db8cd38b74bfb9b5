"""The few samples that stand for a run, and why its step was taken, in a sentence without a metric."""

from collections.abc import Mapping, Sequence

from dreambooth.generation.samples import Sample
from dreambooth.run.measured import Measured
from dreambooth.run.records import PromptScores, Recommendation, SampleScores
from dreambooth.run.ways import percent


def best(samples: Sequence[Sample], measured: Measured, count: int = 3) -> list[Sample]:
    """Up to `count` samples of different prompts, those first whose pictures are most like the photos (DINO).

    Prompts that ask for a place alone go before those that change the subject, which no photo shows; the first has its
    first seed, the second its second, and so on. Where there are too few prompts, other samples of them follow.
    """
    by_prompt: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.kind != "class":
            by_prompt.setdefault(sample.template, []).append(sample)
    scored, places = _scores(measured), measured.samples.places if measured.samples else ()

    def rank(template: str) -> tuple[bool, bool, float]:
        return by_prompt[template][0].kind == "subject", template not in places, -(scored.get(template) or 0.0)

    order = sorted(by_prompt, key=rank)
    first = [by_prompt[template][at % len(by_prompt[template])] for at, template in enumerate(order)]
    others = [sample for template in order for sample in by_prompt[template] if sample not in first]
    return [*first, *others][:count]


def why(verdict: Recommendation, by_hand: bool = False, samples: SampleScores | None = None) -> str:
    """Which step the model is of, and what speaks for it. by_hand: a person chose it.

    samples: the finished ones, where they were scored: what people look at is what the sentence is about, and not the
    probe's few, which chose the step.
    """
    clauses = []
    ways, kept = (samples.ways, samples.kept) if samples and samples.ways else (verdict.ways, verdict.kept)
    if (way := ways.get("dino")) is not None:
        clauses.append(f"it has gone {percent(min(1.0, max(0.0, way)))} of the way to the photos")
    if "clip_t" in kept:
        clauses.append(f"follows the words {percent(min(1.0, kept['clip_t']))} as well as before")
    varied = [share for name, share in kept.items() if name in ("subject_scenes", "class_scenes")]
    varied = varied or [share for name, share in kept.items() if name.endswith("_div")]
    if varied:
        clauses.append(f"keeps {percent(min(1.0, *varied))} of the variety")
    said = " and ".join([", ".join(clauses[:-1]), clauses[-1]] if clauses[1:] else clauses) or "nothing was better"
    which = f"Step {verdict.step}, the last step," if verdict.step == verdict.last else f"Step {verdict.step}"
    return f"{which} is {'the one that was chosen by hand' if by_hand else 'the best one'}: {said}."


def _scores(measured: Measured) -> Mapping[str, float | None]:
    tuned = measured.samples.rows.get("tuned") if measured.samples else None
    prompts: Mapping[str, PromptScores] = tuned.prompts if tuned else {}
    return {template: scores.dino for template, scores in prompts.items()}
