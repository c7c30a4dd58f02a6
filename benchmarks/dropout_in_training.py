"""The share of recognition errors that is left after a discard, of several networks with bands.

Does a network that was trained with dropout rank photos better? Make the tables first, of the same
photos; the bundled one of `mini` needs no command:

    serfiq evaluate FOLDER --aligned --draws 0 --model sface --save sface.npz
    serfiq evaluate FOLDER --aligned --draws 0 --model y1-symbol.json --save y1.npz
    python benchmarks/dropout_in_training.py sface.npz y1.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from serfiq_widgets.evaluation import evaluate, load
from serfiq_widgets.evaluation.bootstrap import ends
from serfiq_widgets.resources import bundled

SHARES = [0.0, 0.1, 0.2, 0.3]


def main() -> None:
    """Print one row a network and FMR."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--fmr", nargs="+", type=float, default=[1e-3, 1e-4])
    given = parser.parse_args()
    print("| network | FMR | FNMR | left at 10 % | left at 20 % | left at 30 % |")
    print("|---|--:|--:|--:|--:|--:|")
    for path in [bundled(), *given.tables]:
        table = load(path)
        for fmr in given.fmr:
            found = evaluate(table, fmr, shares=SHARES, columns=["controlled"])
            drawn = found.resampled["controlled"].balanced
            low, high = ends(drawn[:, 1:] / drawn[:, :1])
            curve = found.balanced["controlled"].at(SHARES)
            cells = [
                f"{share:.0%} ({least:.0%} to {most:.0%})"
                for share, least, most in zip(curve[1:] / curve[0], low, high, strict=True)
            ]
            print(f"| {path.stem} | {fmr:g} | {curve[0]:.3f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
