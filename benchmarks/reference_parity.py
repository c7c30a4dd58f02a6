"""Our scores against the reference's algorithm run literally, for 20 faces and 20 seeds.

T = 100 copies of each face through the whole MobileFaceNet in mxnet, with mxnet's own dropout:
about half an hour on two cores.

Usage: reference_parity.py CHECKPOINT-symbol.json FOLDER [FACES SEEDS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from reference import compare

from serfiq_widgets import find_face
from serfiq_widgets.images.files import find_images


def main() -> None:
    """Print the difference of the mean scores, face by face and in all."""
    checkpoint, folder = map(Path, sys.argv[1:3])
    faces, seeds = map(int, sys.argv[3:5] or (20, 20))
    images = find_images([folder])
    rows = []
    for n, path in enumerate(images[:: max(1, len(images) // faces)][:faces]):
        face = find_face(path, aligned=True)
        difference, error = compare(checkpoint, face, range(n * seeds, (n + 1) * seeds), whole=True)
        rows.append((difference, error))
        print(f"{path.name:32} {difference:+.5f}  {difference / error:+.2f} SE", flush=True)
    differences, errors = np.transpose(rows)
    mean, error = differences.mean(), np.sqrt((errors**2).sum()) / len(rows)
    print(
        f"mean of {len(rows)} faces: {mean:+.6f}, standard error {error:.6f}: {mean / error:+.2f}"
    )


if __name__ == "__main__":
    main()
