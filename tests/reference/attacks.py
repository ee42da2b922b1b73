"""Membership inference.

`svc-confidence`: `SVC_fit_predict` with the `confidence` feature of Classification/evaluation/SVC_MIA.py in
OPTML-Group/Unlearn-Saliency (run beside this one on 550 drawn confidences: both 39.3333 percent). `logistic-losses`:
what SCRUB (MIA_experiments.ipynb of meghdadk/SCRUB), SSD and Bad Teacher mean by the word. `likelihood-ratio`:
Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), algorithm 1; `generate_ours` in
research/mi_lira_2021/plot.py of tensorflow/privacy, whose median replaces the paper's mean where `centre` says so
(180 scores: no difference); for unlearned models Hayes et al., "Inexact Unlearning Needs More Careful Evaluations"
(2024), U-LiRA: the same test between other worlds. `threshold-auc`: Yeom et al. (CSF 2018). `kolmogorov-smirnov`:
the two-sample test, by SciPy.
"""

import numpy

from faults import planted
from protocol import Malformed

FAULTS = {
    "svc-confidence": ["wrong-sign", "another-penalty", "gamma-by-scale"],
    "logistic-losses": ["wrong-sign", "fitted-data-scored", "without-intercept"],
    "likelihood-ratio": ["wrong-sign", "worlds-swapped", "one-variance", "without-determinant"],
    "threshold-auc": ["wrong-sign", "ties-lost"],
    "kolmogorov-smirnov": ["wrong-sign", "one-sided"],
}


def list_faults(case, inputs):
    """The faults that can show in this case."""
    known = list(FAULTS[case["attack"]])
    if case["attack"] == "threshold-auc" and not numpy.isin(inputs["members"], inputs["non-members"]).any():
        known.remove("ties-lost")
    if case["attack"] == "likelihood-ratio" and "truth" not in inputs:
        return known
    return known


def attack_by_svc(members, non_members, asked):
    """Share of `asked` that an RBF support-vector classifier calls non-member, in percent; true-class probabilities."""
    from sklearn.svm import SVC

    features = numpy.concatenate([members, non_members])[:, None]
    truth = numpy.concatenate([numpy.ones(len(members)), numpy.zeros(len(non_members))])
    machine = SVC(
        C=1 if planted("another-penalty") else 3, kernel="rbf", gamma="scale" if planted("gamma-by-scale") else "auto"
    ).fit(features, truth)
    called = machine.predict(asked[:, None])
    share = called.mean() if planted("wrong-sign") else 1 - called.mean()
    return {
        "figure": 100 * share,
        "called-member": called.astype(int).tolist(),
        "decision": machine.decision_function(asked[:, None]).tolist(),
    }


def attack_by_logistic_regression(losses, truth, folds):
    """Mean over the folds of the accuracy on the fold left out, in percent; 50 is best. One feature: the loss."""
    from sklearn.linear_model import LogisticRegression

    accuracies = []
    for fold in sorted(set(folds.tolist())):
        out = folds == fold
        machine = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000, fit_intercept=not planted("without-intercept"))
        machine.fit(losses[~out, None], truth[~out])
        scored = ~out if planted("fitted-data-scored") else out
        accuracies.append(100 * (machine.predict(losses[scored, None]) == truth[scored]).mean())
    mean = numpy.mean(accuracies)
    return {"figure": 100 - mean if planted("wrong-sign") else mean, "folds": accuracies}


def score_likelihood_ratio(inside, outside, asked, centre="mean", deviation="population", variance="per-sample"):
    """log N(asked; in) - log N(asked; out), [targets, samples]; `inside` and `outside` are [shadows, samples].

    All are logit-scaled confidences. A standard deviation is floored by adding 1e-30, as the code does.
    """
    from scipy.stats import norm

    middle = {"mean": numpy.mean, "median": numpy.median}[centre]
    freedom = {"population": 0, "sample": 1}[deviation]
    axis = 0 if variance == "per-sample" and not planted("one-variance") else None
    if planted("worlds-swapped"):
        inside, outside = outside, inside

    def density(confidences):
        spread = numpy.std(confidences, axis=axis, ddof=freedom) + 1e-30
        logarithm = norm.logpdf(asked, middle(confidences, axis=0), spread)
        return logarithm + numpy.log(spread) if planted("without-determinant") else logarithm

    scores = density(inside) - density(outside)
    return -scores if planted("wrong-sign") else scores


def true_positive_rate_at(scores, truth, false_positive_rate):
    """The largest true-positive rate, as a fraction, of any threshold with at most that false-positive rate."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    return true[false <= false_positive_rate].max()


def area_under_curve(members, non_members):
    """P(member scores higher than non-member) + P(equal) / 2, by counting all pairs."""
    if planted("wrong-sign"):
        members, non_members = non_members, members
    ordered = numpy.sort(non_members)
    below = numpy.searchsorted(ordered, members, side="left")
    upto = below if planted("ties-lost") else numpy.searchsorted(ordered, members, side="right")
    return (below + upto).sum() / 2 / len(members) / len(non_members)


def compare_by_kolmogorov_smirnov(members, non_members):
    """Largest distance of the two empirical distributions, and its p-value, exact and asymptotic."""
    from scipy.stats import ks_2samp

    side = "greater" if planted("one-sided") else "two-sided"
    if planted("wrong-sign"):
        members, side = -members, "two-sided"
    exact = ks_2samp(members, non_members, alternative=side, method="exact")
    rough = ks_2samp(members, non_members, alternative=side, method="asymp")
    return {
        "statistic": exact.statistic,
        "p-value-exact": exact.pvalue,
        "p-value-asymptotic": rough.pvalue,
        "p-value-kolmogorov": _kolmogorov_p_value(exact.statistic, len(members), len(non_members)),
    }


def _kolmogorov_p_value(statistic, count, other):
    from scipy.stats import kstwobign

    return kstwobign.sf(statistic * numpy.sqrt(count * other / (count + other)))


def _of_same_classes(inputs):
    """Losses of both sides in equal counts: of the non-members those whose class members have, then the first ones."""
    members, others = inputs["members"].numpy(), inputs["non-members"].numpy()
    keep = numpy.ones(len(others), dtype=bool)
    if "members.classes" in inputs:
        keep = numpy.isin(inputs["non-members.classes"].numpy(), inputs["members.classes"].numpy())
    count = min(len(members), int(keep.sum()))
    chosen = numpy.flatnonzero(keep)[:count]
    if "folds" in inputs:
        folds = inputs["folds"].numpy()
        if len(folds) != 2 * count:
            raise Malformed(f"folds has {len(folds)} entries for {2 * count} samples that are left")
    else:
        folds = numpy.concatenate(
            [inputs["members.folds"].numpy()[:count], inputs["non-members.folds"].numpy()[chosen]]
        )
    losses = numpy.concatenate([members[:count], others[chosen]])
    return losses, numpy.concatenate([numpy.ones(count), numpy.zeros(count)]), folds


def compute(case, inputs):
    """Kind `attack`: figures, and for the likelihood ratio the scores of every sample as a tensor."""
    import torch

    attack = case["attack"]
    if attack == "logistic-losses":
        return {}, attack_by_logistic_regression(*_of_same_classes(inputs))
    members, others = inputs["members"].double().numpy(), inputs["non-members"].double().numpy()
    if attack == "svc-confidence":
        return {}, attack_by_svc(members, others, inputs["asked"].double().numpy())
    if attack == "threshold-auc":
        return {}, {"auc": area_under_curve(members, others)}
    if attack == "kolmogorov-smirnov":
        return {}, compare_by_kolmogorov_smirnov(members, others)
    if attack != "likelihood-ratio":
        raise Malformed(f"case.attack is {attack!r}, not one of {', '.join(FAULTS)}")
    asked = numpy.atleast_2d(inputs["asked"].double().numpy())
    options = {key: case[key] for key in ("centre", "deviation", "variance") if key in case}
    scores = score_likelihood_ratio(members, others, asked, **options)
    figures = {}
    if "truth" in inputs:
        truth = numpy.atleast_2d(inputs["truth"].numpy()).ravel()
        flat = scores.ravel()
        figures = {
            "auc": area_under_curve(flat[truth == 1], flat[truth == 0]),
            "true-positive-rate-at-1-percent": true_positive_rate_at(flat, truth, 0.01),
            "true-positive-rate-at-0.1-percent": true_positive_rate_at(flat, truth, 0.001),
        }
    return {"scores": torch.from_numpy(scores.reshape(inputs["asked"].shape))}, figures
