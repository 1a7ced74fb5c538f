"""The campaigns' command line: carry one out, keep its figures as JSON, write the page from all that is kept."""

from __future__ import annotations

import argparse
import json

from reliability.crash.figures import measured
from reliability.page import PAGE, RESULTS, page


def main() -> None:
    """Carry out what the command asks for."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    commands = parser.add_subparsers(dest="campaign", required=True)
    crash = commands.add_parser("crash", help="kill runs of all techniques, finish them, compare")
    crash.add_argument("--kills", type=int, default=20, help="of each workload, at least")
    crash.add_argument("--seed", type=int, default=0, help="of the moments")
    commands.add_parser("page", help="only write docs/reliability.md from the results")
    arguments = parser.parse_args()
    if arguments.campaign == "crash":
        figures = measured(kills=arguments.kills, seed=arguments.seed)
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
        (RESULTS / "crash.json").write_text(text, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
