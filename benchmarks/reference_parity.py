"""Our scores against the reference's algorithm run literally, for 20 faces and 20 seeds.

With --controlled: five controlled passes of ours against all of its 2,000.

T = 100 copies of each face through the whole MobileFaceNet in mxnet, with mxnet's own dropout:
about half an hour on two cores.

Usage: reference_parity.py [--controlled] CHECKPOINT-symbol.json FOLDER [FACES SEEDS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from reference import compare, compare_controlled

from serfiq_widgets import find_face
from serfiq_widgets.images.files import find_images


def main() -> None:
    """Print the difference of the mean scores, face by face and in all."""
    given = [word for word in sys.argv[1:] if word != "--controlled"]
    compared = compare_controlled if "--controlled" in sys.argv else compare
    checkpoint, folder = map(Path, given[:2])
    faces, seeds = map(int, given[2:4] or (20, 20))
    images = find_images([folder])
    rows = []
    for n, path in enumerate(images[:: max(1, len(images) // faces)][:faces]):
        face = find_face(path, aligned=True)
        own_seeds = range(n * seeds, (n + 1) * seeds)
        difference, error = compared(checkpoint, face, own_seeds, whole=True)
        rows.append((difference, error))
        print(f"{path.name:32} {difference:+.5f}  {difference / error:+.2f} SE", flush=True)
    differences, errors = np.transpose(rows)
    mean, error = differences.mean(), np.sqrt((errors**2).sum()) / len(rows)
    print(
        f"mean of {len(rows)} faces: {mean:+.6f}, standard error {error:.6f}: {mean / error:+.2f}"
    )


if __name__ == "__main__":
    main()
