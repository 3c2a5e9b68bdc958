"""How often a sweep's runs did not converge, setting by setting.

python examples/experiments/convergence.py runs/convergence
"""

import argparse
import json
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sweep", type=Path, help="folder of the sweep")
parser.add_argument("--modality", default="image")
parser.add_argument("--least-score", type=float, default=0.75, help="a run below has not converged (default: 0.75)")
parser.add_argument(
    "--least-gain", type=float, default=0.02, help="modality gain as a share of the loss (default: 0.02)"
)
arguments = parser.parse_args()

found = json.loads((arguments.sweep / "comparison.json").read_text())
print("| setting | runs | stopped | ignore the modality | below the score | scores |")
print("| --- | --- | --- | --- | --- | --- |")
for trial in sorted(found["trials"], key=lambda trial: trial["trial"]):
    setting = []
    for value in trial["parameters"].values():
        names = [phase["name"] for phase in value] if isinstance(value, list) else [str(value)]
        setting.append(" then ".join(names))
    runs = [scores for scores in trial["seeds"].values() if found["objective"] in scores]
    scores = [run[found["objective"]] for run in runs]
    ignoring = [run[f"modality_gain/{arguments.modality}"] < arguments.least_gain * run["valid/lm"] for run in runs]
    below = sum(score < arguments.least_score for score in scores)
    listed = ", ".join(f"{score:.3f}" for score in scores)
    stopped = len(trial["seeds"]) - len(runs)
    print(f"| {', '.join(setting)} | {len(trial['seeds'])} | {stopped} | {sum(ignoring)} | {below} | {listed} |")
