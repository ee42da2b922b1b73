"""Writes principal_plane.json: snapshots in the plane of their first two principal components, by numpy's SVD.

Run: python principal_plane.py               (needs numpy)

Snapshot i of 9 has 100,000 coordinates: coordinate j is the float32 nearest to
    sin(0.7 i + 0.013 j) + i / 9 · sin(0.0071 j) + 0.3 cos(1.9 i) · cos(0.0037 j)
all in float64 before that. The SVD is that of the snapshots minus their mean, in float64. Signs: snapshot 2 has no
positive coordinate.
    coordinates [9, 2], explained [2]
    at [3]: coordinates 0, 50,000 and 99,999 of mean + 2 · first − 3 · second
"""

import json
from pathlib import Path

import numpy as np

SNAPSHOTS, COORDINATES, ANCHOR = 9, 100_000, 2

i = np.arange(SNAPSHOTS, dtype=np.float64)[:, None]
j = np.arange(COORDINATES, dtype=np.float64)[None, :]
weights = np.sin(0.7 * i + 0.013 * j) + i / 9 * np.sin(0.0071 * j) + 0.3 * np.cos(1.9 * i) * np.cos(0.0037 * j)
weights = weights.astype(np.float32).astype(np.float64)
mean = weights.mean(0)
left, lengths, right = np.linalg.svd(weights - mean, full_matrices=False)
signs = np.where(left[ANCHOR, :2] > 0, -1.0, 1.0)
coordinates = left[:, :2] * lengths[:2] * signs
first, second = right[0] * signs[0], right[1] * signs[1]
point = mean + 2 * first - 3 * second
golden = {
    "coordinates": coordinates.tolist(),
    "explained": (lengths[:2] ** 2 / (lengths**2).sum()).tolist(),
    "at": point[[0, 50_000, 99_999]].tolist(),
}
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, indent=1) + "\n")
