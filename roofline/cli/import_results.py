# SPDX-License-Identifier: Apache-2.0
"""Import results that other tools measured into the store of measurements.

Files are recognised by what they hold: vLLM, SGLang, llama-bench, optimum-benchmark,
llm-d reports, aiperf, genai-perf, GuideLLM, trtllm-bench, InferenceX, CSV and Parquet.
What a file does not state comes from options, and holds for all files of the command; a
point that still lacks something is refused with the list of all that is missing.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser
from roofline.cli.scenario import check_device_name, size, watts
from specs.errors import InvalidInputError, RooflineError

if TYPE_CHECKING:
    from profiler.importers import Facts, Imported
    from profiler.store import Store

_DEGREES = (
    ("tp", "tensor parallelism"),
    ("pp", "pipeline parallelism"),
    ("ep", "expert parallelism"),
    ("dp", "data parallelism"),
)
_TEXTS = (
    ("model", "model", "M", "Hugging Face name; counts before the file's own"),
    ("engine", "engine", "E", "vllm, sglang, trtllm, llama.cpp, ..."),
    ("engine-version", "engine_version", "V", "its version, or 'unknown'"),
    ("tool-version", "tool_version", "V", "version of the benchmark tool"),
    ("weight-dtype", "weight_dtype", "T", "bf16, fp8, q4_k_m, ..."),
    ("kv-dtype", "kv_dtype", "T", "format of the KV cache"),
    ("host-cpu", "host_cpu", "CPU", "name of the host's processor"),
    ("measured-at", "measured_at", "DATE", "such as 2026-01-31"),
    ("source", "source", "KEY", "who measured (imported)"),
    ("source-ref", "source_ref", "REF", "where it was published (the file's name)"),
    ("license", "license", "SPDX", "licence of the figures"),
)


def add_arguments(parser: Parser) -> None:
    """Declare files and facts."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="results files")
    parser.add_argument(
        "--dstack-log",
        action="append",
        default=[],
        metavar="FILE",
        help="run log with 'Time taken for N inferences' lines; may be given again",
    )
    parser.add_argument("--as", dest="importer", default="", metavar="NAME", help="importer to use")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="THEIRS=OURS[:UNIT]",
        help="column of a CSV or Parquet table; may be given again",
    )
    parser.add_argument("--store", metavar="DIR", help="where to keep them (ROOFLINE_STORE)")
    parser.add_argument("--dry-run", action="store_true", help="read and tell, keep nothing")
    add_json_argument(parser)
    _add_facts(parser)


def _add_facts(parser: Parser) -> None:
    group = parser.add_argument_group("facts that files lack")
    group.add_argument("--gpu", default="", metavar="G", help="such as 'RTX 4090'")
    group.add_argument("--num-gpus", type=size, metavar="N", help="GPUs in all")
    for name, says in _DEGREES:
        group.add_argument(f"--{name}", type=size, metavar="N", help=says)
    for option, name, metavar, says in _TEXTS:
        group.add_argument(f"--{option}", dest=name, default="", metavar=metavar, help=says)
    words = ("eager", "graph", "compiled")
    group.add_argument("--capture", choices=words, default="", help="how steps were launched")
    for option, alias, name in (
        ("input-len", "isl", "input_tokens"),
        ("output-len", "osl", "output_tokens"),
    ):
        group.add_argument(
            f"--{option}", f"--{alias}", dest=name, type=size, metavar="N", help="tokens"
        )
    group.add_argument("--batch", dest="batch_size", type=size, metavar="B", help="static batch")
    group.add_argument("--concurrency", type=size, metavar="C", help="requests in flight")
    group.add_argument("--request-rate", type=size, metavar="R", help="requests per second")
    group.add_argument(
        "--power-limit", dest="power_limit_w", type=watts, metavar="W", help="per GPU"
    )


def run(args: Namespace) -> None:
    """Read every file, keep the good points, then tell what was refused.

    Raises
    ------
    InvalidInputError
        A point or a file was refused; what was good is kept already.
    """
    jobs = [(path, args.importer) for path in args.files]
    jobs += [(path, "dstack-log") for path in args.dstack_log]
    if not jobs:
        raise InvalidInputError("no file to import; give results files, or --dstack-log FILE.")
    from profiler.importers import parse_map
    from profiler.store import Store

    facts, mapped = _facts(args), parse_map(args.map)
    store = Store(args.store)
    answers = []
    for path, importer in jobs:  # one after another: an interruption keeps what is done
        answers.append(_import_one(path, importer, facts, mapped))
        _keep(answers[-1], store, dry_run=args.dry_run)
        if not args.json:
            _tell(answers[-1])
    _conclude(answers, store, args)


def _facts(args: Namespace) -> Facts:
    from profiler.importers import Facts

    if args.gpu:
        check_device_name(args.gpu)
    names = [
        *("gpu", "num_gpus", "capture", "batch_size", "concurrency", "request_rate"),
        *("input_tokens", "output_tokens", "power_limit_w"),
        *(name for name, _ in _DEGREES),
        *(name for _, name, _, _ in _TEXTS),
    ]
    return Facts(**{name: getattr(args, name) for name in names})


def _import_one(path: str, importer: str, facts: Facts, mapped: Any) -> dict[str, Any]:
    """What one file gave, as the answer that is printed; its rows under "rows"."""
    from profiler.importers import read_results

    try:
        found: Imported = read_results(path, facts, column_map=mapped, importer=importer)
    except RooflineError as error:
        message = str(error).removeprefix(f"{path}: ").rstrip(".")
        return {"file": path, "importer": "", "rows": [], "refused": [message], "n_refused": 1}
    return {
        "file": path,
        "importer": found.importer,
        "rows": list(found.rows),
        "refused": list(found.refused),
        "n_refused": found.n_refused,
    }


def _keep(answer: dict[str, Any], store: Store, *, dry_run: bool) -> None:
    """Append the rows that the store does not hold from this very file."""
    rows = answer.pop("rows")
    known = store.points(rows[0].run_id) if rows else {}
    new = [row for row in rows if row.point_id not in known]
    if new and not dry_run:
        store.append(new)
    answer["n_read"], answer["n_kept"] = len(rows), 0 if dry_run else len(new)
    answer["n_known"] = len(rows) - len(new)
    answer["points"] = rows


def _tell(answer: dict[str, Any]) -> None:
    read, known = answer["n_read"], answer["n_known"]
    if read:
        partial = sum(row.quality != "ok" for row in answer["points"])
        remarks = [f"{partial} partial"] * bool(partial) + [f"{known} already kept"] * bool(known)
        more = f" ({', '.join(remarks)})" if remarks else ""
        print_text(f"{answer['file']}: {answer['importer']}, {_points(read)}{more}")
    for why in answer["refused"]:
        print(f"roofline: {Path(answer['file']).name}: {_clean(why)}.", file=sys.stderr)


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _points(number: int) -> str:
    return f"{number} point{'s' * (number != 1)}"


def _conclude(answers: list[dict[str, Any]], store: Store, args: Namespace) -> None:
    """Print the total; raise if anything was refused."""
    kept = sum(answer["n_kept"] for answer in answers)
    read = sum(answer["n_read"] for answer in answers)
    refused = sum(answer["n_refused"] for answer in answers)
    where = "kept nowhere (--dry-run)" if args.dry_run else f"{kept} kept in {store.path}"
    files = f"{len(answers)} file{'s' * (len(answers) != 1)}"
    if args.json:
        for answer in answers:
            answer["points"] = [row.to_dict() for row in answer["points"]]
        print_json(
            {
                "files": answers,
                "n_read": read,
                "n_kept": kept,
                "n_refused": refused,
                "store": None if args.dry_run else str(store.path),
            }
        )
    else:
        print_text(f"total: {_points(read)} read from {files}, {where}")
    if refused:
        why = "'refused' says why" if args.json else "the lines above say why"
        raise InvalidInputError(f"{refused} of {refused + read} refused: {why}.")
