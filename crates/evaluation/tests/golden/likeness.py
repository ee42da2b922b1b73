"""Writes likeness.json: how alike scipy and scikit-learn find two samples of confidences.

Run: python likeness.py          (needs scipy, scikit-learn and numpy)

Each case: first and second are samples; distance is Kolmogorov's and Smirnov's, p its limiting probability, auc the area
under the curve of telling first (positive) from second by size.
"""

import json
from pathlib import Path

import numpy as np
from scipy import special, stats
from sklearn.metrics import roc_auc_score

rng = np.random.default_rng(0)
pairs = [
    ("same", rng.beta(5, 1, 60), rng.beta(5, 1, 80)),
    ("apart", rng.beta(9, 1, 60), rng.beta(2, 2, 40)),
    ("ties", rng.integers(0, 5, 50) / 4, rng.integers(1, 5, 30) / 4),
    ("near", rng.beta(5, 1, 200), rng.beta(4, 1, 150)),
]
cases = []
for name, first, second in pairs:
    first, second = np.round(first, 6), np.round(second, 6)
    distance = stats.ks_2samp(first, second).statistic
    size = len(first) * len(second) / (len(first) + len(second))
    is_first = [1] * len(first) + [0] * len(second)
    cases.append(
        {
            "name": name,
            "first": first.tolist(),
            "second": second.tolist(),
            "distance": float(distance),
            "p": float(special.kolmogorov(np.sqrt(size) * distance)),
            "auc": float(roc_auc_score(is_first, np.concatenate([first, second]))),
        }
    )
Path(__file__).with_suffix(".json").write_text(json.dumps({"cases": cases}) + "\n")
