"""Writes likelihood_ratio.json: the likelihood-ratio attack on two worlds, by numpy, scipy and scikit-learn.

Run: python likelihood_ratio.py          (needs scipy, scikit-learn and numpy)

Each case: seeds is a list a seed of [sample, confidence of the network that unlearned it, confidence of the network that
never saw it]; the rest is what likelihood_ratio must find. Test: relative tolerance 1e-9.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

rng = np.random.default_rng(5)


def draw(seeds, samples, always, shift, digits):
    """Confidences about each sample's own mean; the first `always` samples are forgotten by every seed, others by half."""
    means = rng.normal(2, 3, samples)
    leaks = shift * rng.normal(0, 1, samples)
    answers = []
    for _ in range(seeds):
        forgotten = [x for x in range(samples) if x < always or rng.random() < 0.5]
        answers.append(
            [
                [
                    x,
                    round(float(means[x] + leaks[x] + rng.normal(0, 1)), digits),
                    round(float(means[x] + rng.normal(0, 0.8)), digits),
                ]
                for x in forgotten
            ]
        )
    return answers


def world(seeds, target, column):
    """For each sample: mean, standard deviation and number of the other seeds' confidences."""
    values = {}
    for seed, answers in enumerate(seeds):
        if seed != target:
            for answer in answers:
                values.setdefault(answer[0], []).append(answer[column])
    residuals = np.concatenate([np.array(v) - np.mean(v) for v in values.values()])
    pooled = np.sum(residuals**2) / (len(residuals) - len(values))
    found = {}
    for sample, v in values.items():
        if len(v) >= 2:
            variance = np.var(v, ddof=1) if len(v) >= 64 else pooled
            found[sample] = (np.mean(v), np.sqrt(max(variance, 1e-6)), len(v))
    return found


def attack(seeds):
    positives, negatives, shadows, by_sample = [], [], [], {}
    for target, answers in enumerate(seeds):
        unlearned, out = world(seeds, target, 1), world(seeds, target, 2)
        for sample, first, second in answers:
            if sample in unlearned:
                (m, s, n), (mo, so, _) = unlearned[sample], out[sample]
                ratios = [norm.logpdf(v, m, s) - norm.logpdf(v, mo, so) for v in (first, second)]
                positives.append(ratios[0])
                negatives.append(ratios[1])
                shadows.append(n)
                by_sample.setdefault(sample, []).append(ratios[0])
    truth = [1] * len(positives) + [0] * len(negatives)
    scores = np.array(positives + negatives)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    worst = sorted(((np.mean(r), x, len(r)) for x, r in by_sample.items()), key=lambda row: (-row[0], row[1]))
    return {
        "shadows": float(np.mean(shadows)),
        "unlearned": len(positives),
        "never_in": len(negatives),
        "auc": float(roc_auc_score(truth, scores)),
        "at_1": float(100 * true[false <= 0.01].max()),
        "at_01": float(100 * true[false <= 0.001].max()),
        "worst_off": [[x, float(ratio), n] for ratio, x, n in worst[:10]],
    }


cases = []
for name, arguments in {
    "few shadows": (6, 60, 20, 1.0, 4),
    "hardly a leak": (8, 60, 0, 0.1, 4),
    "many ties": (5, 40, 30, 1.0, 0),
    "more than 64 shadows for most, and more than 1,000 negatives": (72, 20, 14, 0.7, 3),
}.items():
    seeds = draw(*arguments)
    cases.append({"name": name, "seeds": seeds, **attack(seeds)})
Path(__file__).with_suffix(".json").write_text(json.dumps({"cases": cases}) + "\n")
