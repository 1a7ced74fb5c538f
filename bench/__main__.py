"""The benchmark's command line: measure rows, keep their figures as JSON, write the page from the JSON."""

from __future__ import annotations

import argparse
import json

from bench.page import PAGE, RESULTS, page
from bench.rows import GPU_ROWS, ROWS
from bench.training import Options


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=sorted({**ROWS, **GPU_ROWS}), help="measure this row alone")
    parser.add_argument("--pairs", type=int, default=5, help="times that both programs run, in turn")
    parser.add_argument(
        "--updates",
        type=int,
        default=6,
        help="timed updates in each run, after one of warm-up; in distillation, of an epoch",
    )
    parser.add_argument("--cores", default="0", help='cores to stay on: "0", "0,1" or "all"')
    parser.add_argument("--model", default="smollm2-135m-instruct", help="built-in model or folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="`cuda` measures the rows for a GPU")
    parser.add_argument("--write-docs", action="store_true", help="only write docs/performance.md from the results")
    arguments = parser.parse_args()
    if not arguments.write_docs:
        options = Options(arguments.pairs, arguments.updates, arguments.cores, arguments.model, arguments.device)
        rows = GPU_ROWS if arguments.device == "cuda" or arguments.only in GPU_ROWS else ROWS
        if arguments.only and arguments.only not in rows:
            parser.error(f"{arguments.only} is no row for a GPU; those are {', '.join(GPU_ROWS)}")
        for name in [arguments.only] if arguments.only else rows:
            print(name, flush=True)
            figures = rows[name].measure(options)
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
