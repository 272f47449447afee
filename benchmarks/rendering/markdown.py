"""Markdown tables, one for each command's result.

A median stands with its quartiles; ratios are taken between medians of one run only. Under each
table stand the machine, the settings, what was left out, and a warning if the machine was noisy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.commands.train import HUNDRED, starts, steady
from benchmarks.contestants import compiled_contestant, words
from benchmarks.stats import FiveNumbers, pooled, significant, summarise

Record = dict[str, Any]
BASELINE = "Keras on TensorFlow, as called"


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median_and_quartiles(summary: FiveNumbers, scale: float = 1.0) -> str:
    """Median and quartiles; a single sample stands alone.

    >>> median_and_quartiles(summarise([1.0, 2.0, 3.0]))
    '2.00 (1.50 to 2.50)'
    """
    median, lower, upper = (
        significant(scale * value) for value in (summary.median, summary.lower, summary.upper)
    )
    return median if summary.samples == 1 else f"{median} ({lower} to {upper})"


def speedup(baseline: FiveNumbers | None, summary: FiveNumbers) -> str:
    """How many times as fast as the baseline."""
    return "" if baseline is None else f"{significant(baseline.median / summary.median, 2)} x"


def footnotes(record: Record) -> str:
    """Machine, noise, and who was left out."""
    e, control = record["environment"], record["control"]
    versions = ", ".join(f"{k} {v}" for k, v in e["versions"].items() if v != "not installed")
    lines = [
        f"{record['when']}; {e['cpu']}, {e['threads']} threads, Python {e['python']}; {versions}. "
        f"Data: {record['data']}. Command: `python -m benchmarks {record['command']}"
        f"{' --quick' if record['quick'] else ''}"
        f"{' --cpu ' + e['target'] if e.get('target') else ''}`."
    ]
    if control["noisy"]:
        lines.append(
            f"**Noisy machine**: the control varied {significant(control['worst'], 2)}-fold "
            f"(quartiles {control['spread']:.0%} of the median apart). "
            "Measure again on a quiet one."
        )
    if record["quick"]:
        lines.append("Quick run: fewer samples and rounds, settings guessed, not searched.")
    left = dict.fromkeys(f"{x['name']} ({x['why']})" for x in record["left_out"])
    if left:
        lines.append(f"Left out: {'; '.join(left)}.")
    return "\n\n".join(lines)


def settings_note(rows: Iterable[Record]) -> str:
    """What "at its best" means, who differs from the job in what, and who never sleeps."""
    rows = list(rows)
    best = [f"{r['name']}: {words(r['settings'])}" for r in rows if r["name"].endswith("best")]
    differs = dict.fromkeys(
        f"{r['name'].split(',')[0]}: {r['differs']}" for r in rows if r["differs"]
    )
    busy = [r["name"] for r in rows if r.get("stopped_between_turns")]
    lines = [f"Settings: {'; '.join(best)}." if best else ""]
    lines.append(f"Not as in the script: {'; '.join(differs)}." if differs else "")
    lines.append(f"Busy while idle, so stopped between turns: {', '.join(busy)}." if busy else "")
    return "\n\n".join(line for line in lines if line)


def job_table(job: Record, peaks: Record) -> str:
    """Everyone's epoch, slowest first."""
    found = {r["name"]: summarise(steady(r["rounds"])) for r in job["rows"]}
    baseline = found.get(BASELINE)
    rows = []
    for r in sorted(job["rows"], key=lambda r: -found[r["name"]].median):
        summary = found[r["name"]]
        rate = job["flop_per_epoch"] / summary.median / 1e9
        rows.append(
            [
                r["name"],
                median_and_quartiles(summary),
                speedup(baseline, summary),
                significant(summary.median / job["steps"] * 1e6),
                f"{rate / peaks['sgemm_1']:.0%}",
                significant(r["import_seconds"], 2),
                significant(r["first_epoch_seconds"]),
                significant(max(0.0, starts(r["rounds"])), 2),
                f"{r['test_accuracy']:.2%}" if "test_accuracy" in r else "",
            ]
        )
    head = [
        f"{job['words']}, {job['job']['samples']:,} samples",
        "s/epoch (quartiles)",
        "against Keras as called",
        "us/step",
        "of sgemm, 1 thread",
        "start and import, s",
        "very first epoch, s",
        "start of a fit, s",
        "test accuracy",
    ]
    parts = [markdown(head, rows), settings_note(job["rows"]), search_note(job["searches"])]
    return "\n\n".join(part for part in parts if part)


def epoch_table(record: Record) -> str:
    """The main job alone, fastest first, as short as it can be said."""
    job = record["jobs"]["mnist"]
    found = {r["name"]: summarise(steady(r["rounds"])) for r in job["rows"]}
    baseline = found.get(BASELINE)
    order = sorted(found, key=lambda name: found[name].median)
    rows = [
        [name, median_and_quartiles(found[name]), speedup(baseline, found[name])] for name in order
    ]
    head = [job["words"], "s/epoch (quartiles)", "against Keras as called"]
    return "\n\n".join([markdown(head, rows), footnotes(record)])


def machines_table(records: Mapping[str, Record]) -> str:
    """The main job on every machine; each ratio is of one run."""
    rows, most = [], max(record["environment"]["threads"] for record in records.values())
    for record in records.values():
        e = record["environment"]
        found = {r["name"]: summarise(steady(r["rounds"])) for r in record["jobs"]["mnist"]["rows"]}
        baseline = found.get(BASELINE)
        row = [e["cpu"] + (f", compiled for {e['target']}" if e.get("target") else "")]
        row[0] += ", quick run" * record["quick"]
        row.append(significant(baseline.median) if baseline else "")
        for threads in (1, e["threads"] if e["threads"] > 1 else 0):
            ours = found.get(compiled_contestant(threads).name)
            row += [median_and_quartiles(ours), speedup(baseline, ours)] if ours else ["", ""]
        rows.append(row)
    head = ["s/epoch", BASELINE, "compiled, 1 thread", "", f"compiled, {most} threads", ""]
    return markdown(head, rows)


def search_note(searches: list[Record]) -> str:
    """How many settings each peer's best was chosen from."""
    counts = [f"{s['peer']} {len(s['tried'])} ({words(s['best'])})" for s in searches if s["tried"]]
    return f"Settings tried in short runs, and the best: {'; '.join(counts)}." if counts else ""


def hundred_table(job: Record) -> str:
    rows = []
    for r in job["rows"]:
        seconds = r["rounds"][0]
        early, late = summarise(seconds[1:6]).median, summarise(seconds[-5:]).median
        rows.append([r["name"], significant(early), significant(late), f"{late / early - 1:+.1%}"])
    return markdown([job["words"], "epochs 2 to 6, s", "last five, s", "slower by"], rows)


def train_table(record: Record) -> str:
    p = record["peaks"]
    parts = [
        hundred_table(job) if name == HUNDRED else job_table(job, p)
        for name, job in record["jobs"].items()
    ]
    rates = ", ".join(
        f"{name.replace('_', ' on ')} {'thread' if name.endswith('1') else 'threads'} {rate:.0f}"
        for name, rate in p.items()
        if rate is not None
    )
    return "\n\n".join([*parts, f"Peaks in the same run, GFLOP/s: {rates}."])


def predict_table(record: Record) -> str:
    found = {r["name"]: summarise(pooled(r["rounds"])) for r in record["rows"]}
    baseline = found.get(BASELINE)
    rows = [
        [name, median_and_quartiles(s, 1000), speedup(baseline, s)]
        for name, s in sorted(found.items(), key=lambda item: -item[1].median)
    ]
    head = [f"predicting {record['images']:,} images", "ms (quartiles)", "against Keras as called"]
    return markdown(head, rows) + "\n\n" + settings_note(record["rows"])


def startup_table(record: Record) -> str:
    phases = ("whole", "import", "data", "build", "first_epoch")
    rows = []
    for r in sorted(
        record["rows"], key=lambda r: -summarise(s["whole"] for s in r["samples"]).median
    ):
        summaries = [summarise(sample[phase] for sample in r["samples"]) for phase in phases]
        rows.append(
            [
                r["name"],
                median_and_quartiles(summaries[0]),
                *(significant(s.median) for s in summaries[1:]),
            ]
        )
    head = [
        "from a new process to its first result",
        "s (quartiles)",
        "start and import",
        "data",
        "build",
    ]
    return markdown([*head, "first epoch"], rows)


def memory_table(record: Record) -> str:
    mb = 1e6
    rows = [
        [
            r["name"],
            *(f"{peak / mb:.0f}" for peak in r["peaks"][:2]),
            f"{r['extra_bytes'] / mb:.0f}",
            f"{r['data_bytes'] / mb:.0f}",
        ]
        for r in sorted(record["rows"], key=lambda r: -r["peaks"][0])
    ]
    head = ["peak in fit above what stood before", "first fit, MB", "second fit, MB"]
    return markdown([*head, "of it the data in another form, MB", "the data, MB"], rows)


def accuracy_table(record: Record) -> str:
    rows = []
    for r in record["rows"]:
        reached = [run["seconds"] for run in r["runs"] if run["seconds"] is not None]
        epochs = summarise(run["epochs"] for run in r["runs"])
        time = median_and_quartiles(summarise(reached)) if reached else "never"
        share = f"{len(reached)} of {len(r['runs'])}"
        rows.append([r["name"], time, significant(epochs.median, 2), share])
    head = [f"to {record['target']:.0%} of the test images", "s of training (quartiles)"]
    return markdown([*head, "epochs", "seeds that got there"], rows)


def kernels_table(record: Record) -> str:
    found = [(r["name"], summarise(steady(r["rounds"]))) for r in record["ablation"]]
    rows, whole = [], None
    for name, summary in found:
        whole = summary if name.startswith("all on") else whole
        cost = "" if whole is None else f"{significant(summary.median / whole.median, 2)} x"
        rows.append([name, median_and_quartiles(summary), cost])
    head = ["compiled engine, after six epochs", "s/epoch (quartiles)", "time against all on"]
    return markdown(head, rows)


def scaling_table(record: Record) -> str:
    parts = []
    for axis, points in record["axes"].items():
        names = list(dict.fromkeys(r["name"] for point in points for r in point["rows"]))
        rows = []
        for point in points:
            each = {r["name"]: r for r in point["rows"]}
            count = point["job"]["samples"]
            cells = [
                median_and_quartiles(summarise(steady(each[n]["rounds"])), 1e6 / count)
                if n in each
                else ""
                for n in names
            ]
            rows.append([f"{point['value']:g}", *cells])
        parts.append(markdown([f"{axis}: us/sample", *names], rows))
    return "\n\n".join(parts)


TABLES: dict[str, Callable[[Record], str]] = {
    "train": train_table,
    "predict": predict_table,
    "startup": startup_table,
    "memory": memory_table,
    "accuracy": accuracy_table,
    "kernels": kernels_table,
    "scaling": scaling_table,
}


def table(record: Record) -> str:
    """The fragment of a result, with its footnotes."""
    return TABLES[record["command"]](record) + "\n\n" + footnotes(record)
