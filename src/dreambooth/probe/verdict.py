"""What the probes say together: which step is recommended and why, and which failures they show."""

from collections.abc import Mapping
from dataclasses import asdict

from dreambooth.evaluation import WAY, progress_by_metric
from dreambooth.probe.diagnosis import checks, diagnose
from dreambooth.probe.rule import RULE, reason, shares
from dreambooth.run import Run
from dreambooth.run.choice import by_hand, in_use
from dreambooth.run.companions import each
from dreambooth.run.records import DIAGNOSIS, JUDGES, RECOMMENDATION, SCORES, Diagnosis, Recommendation
from dreambooth.support.progress import log


def write_verdict(run: Run, step: int, judges: Mapping[str, str]) -> None:
    """Write recommendation.json, of `step`, and diagnosis.json, by what scores.jsonl says.

    judges: their names, by what they measure.
    """
    probes = {probed.step: probed for probed in SCORES.read(run.root)}
    found, why = shares(list(probes.values())), reason(step, probes, run.subject)
    last = max(found)
    if by_hand(run) == step:
        why = f"{why}; it was chosen by hand, not by the rule"
    verdict = Recommendation(
        step=step,
        rule=RULE,
        reason=why,
        last=last,
        stopped_early=last < run.config.training.max_train_steps,
        judges=judges,
        ways=progress_by_metric(probes[step], probes[0], probes["real"]),
        way=WAY,
        kept=probes[step].kept(probes[0]),
    )
    RECOMMENDATION.write(run.root, verdict)
    findings, checked = diagnose(probes, step), checks(probes[step], probes[0], probes["real"])
    DIAGNOSIS.write(run.root, Diagnosis(findings=tuple(findings), checked=tuple(checked)))
    log.info("recommended: %s", why)
    log.info("(%s)", WAY)
    for finding in findings:
        log.warning("%s: %s %s", finding.failure, finding.says, finding.change)


def restore_verdict(run: Run) -> None:
    """Of each stage of a finished run, write what is missing of it again, where what it follows from is there."""
    for its, kept in [(its, whole) for whole in (run, *run.later_stages) for its in each(whole)]:
        if all((its.root / file.name).exists() for file in (RECOMMENDATION, DIAGNOSIS)):
            continue
        step, judges = in_use(kept), JUDGES.find(run.root)
        if step and judges and {"real", 0, step} <= {probed.step for probed in SCORES.read(its.root)}:
            write_verdict(its, step, asdict(judges))
