"""Draw the demo's growth: docs/images/growth.svg, from the result folders of ``make demo``.

    make demo
    python docs/growth.py demo-out/results

Needs matplotlib.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

OUT = Path(__file__).parent / "images" / "growth.svg"
ABILITIES = {"perception": "#0072b2", "reasoning": "#d55e00", "overall": "#444444"}
"""Colours that people with any colour vision can tell apart (Okabe and Ito)."""
TASKS = {
    "Wiki_plant_identification": ("names of plants", "#009e73"),
    "general_visual_question_answering": ("visual questions", "#0072b2"),
    "physical_reasoning": ("physics", "#cc79a7"),
    "mathematical_reasoning": ("counting", "#d55e00"),
    "spatial_reasoning": ("left and right", "#56708a"),
}
"""Directory -> what the figure calls it, and its colour; a few of the nine, so that the lines can be told apart."""


def main() -> None:
    [results] = map(Path, sys.argv[1:])
    folders = sorted(results.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-")))
    steps = [int(folder.name.removeprefix("step-")) for folder in folders]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    plt.rcParams.update({"font.size": 11, "font.family": "DejaVu Sans", "svg.hashsalt": "radar-fast"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), sharey=True, layout="constrained")
    for name, colour in ABILITIES.items():
        entries = [summary["overall"] if name == "overall" else summary["abilities"][name] for summary in summaries]
        draw(left, steps, entries, colour, name, dashed=name == "overall")
        left.fill_between(
            steps, [e["sds_low"] for e in entries], [e["sds_high"] for e in entries], color=colour, alpha=0.12, lw=0
        )
    left.set_title("abilities, with 95% intervals", loc="left", fontsize=11)
    left.set_ylabel("Soft Discrimination Score")
    for name, (label, colour) in TASKS.items():
        draw(right, steps, [summary["directories"][name] for summary in summaries], colour, label)
    right.set_title("five of the nine subsets", loc="left", fontsize=11)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [str(step) for step in steps])
        axes.set_xlim(steps[0] * 0.9, steps[-1] * 3.4)
        axes.set_ylim(0.2, 1.02)
        axes.minorticks_off()
        axes.grid(axis="y", color="#dddddd", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("training step")
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, facecolor="white", metadata={"Date": None})


def draw(
    axes: Any, steps: list[int], entries: list[dict[str, float]], colour: str, label: str, *, dashed: bool = False
) -> None:
    """One line of SDS over steps, called by name where it ends."""
    sds = [entry["sds"] for entry in entries]
    axes.plot(steps, sds, color=colour, lw=2, marker="o", ms=4, ls="--" if dashed else "-")
    axes.annotate(
        f"{label} {sds[-1]:.2f}", (steps[-1], sds[-1]), (8, 0), textcoords="offset points", color=colour, va="center"
    )


if __name__ == "__main__":
    main()
