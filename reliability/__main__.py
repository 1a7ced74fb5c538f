"""The campaigns' command line: carry one out, keep its figures as JSON, write the page from all that is kept."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from reliability.crash.figures import USUAL_KILLS
from reliability.crash.figures import measured as killed
from reliability.page import PAGE, RESULTS, page
from reliability.planted.figures import measured as planted
from reliability.soak.figures import measured as soaked


def main() -> None:
    """Carry out what the command asks for."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    commands = parser.add_subparsers(dest="campaign", required=True)
    crash = commands.add_parser("crash", help="kill runs of all techniques, finish them, compare")
    crash.add_argument("--kills", type=int, default=USUAL_KILLS, help="of each workload, at least")
    crash.add_argument("--seed", type=int, default=0, help="of the moments")
    soak = commands.add_parser("soak", help="run after run in one process: is anything kept?")
    time = soak.add_mutually_exclusive_group()
    time.add_argument("--hours", type=float, default=2.0, help="how long")
    time.add_argument("--minutes", type=float, help="how long, in place of --hours")
    commands.add_parser("planted", help="plant faults of training and of rows: is each one told?")
    commands.add_parser("page", help="only write docs/reliability.md from the results")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if arguments.campaign == "crash":
        _keep(killed(kills=arguments.kills, seed=arguments.seed))
    if arguments.campaign == "planted":
        _keep(planted())
    if arguments.campaign == "soak":
        minutes = arguments.minutes or 60 * arguments.hours
        soaked(seconds=60 * minutes, out=RESULTS / "soak.json")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


def _keep(figures: Mapping[str, Any]) -> None:
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / f"{figures['kind']}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
