"""The benchmarks' machinery: statistics, protocol, oracle, report. Nothing here times anything."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as main
from benchmarks import machine, oracle, stats, store
from benchmarks.arena import Arena, fastest, train_turn
from benchmarks.commands.train import starts, steady
from benchmarks.contestants import ENTRIES, Contestant, as_called, chosen, words
from benchmarks.image_sets import ImageSets
from benchmarks.job import BenchmarkJob, initial_weights, load_arrays
from benchmarks.peak_memory import peak_memory
from benchmarks.peers.base import Laps
from benchmarks.peers.numpy_plain import Peer
from benchmarks.protocol import LeftOut, Process
from benchmarks.rendering import markdown, write

TINY = BenchmarkJob(hidden=(8,), batch=4, samples=40, checked=(1, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ImageSets as a run lays them out, few and made up."""
    rng, place = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    for part, count in (("train", 40), ("test", 12)):
        x = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        x *= rng.random(x.shape) < 0.2
        np.save(place / f"mnist-{part}-x.npy", x)
        np.save(place / f"mnist-{part}-y.npy", rng.integers(10, size=count, dtype=np.uint8))
    return place


# --- statistics -----------------------------------------------------------------------------------


def test_a_summary_holds_the_quartiles():
    summary = stats.summarise([5, 1, 3, 2, 4])
    assert summary == (5, 1, 2, 3, 4, 5)
    assert summary.spread == pytest.approx(2 / 3)


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")]])
def test_what_was_not_measured_is_no_sample(samples):
    with pytest.raises(ValueError, match="expected at least one, all finite"):
        stats.summarise(samples)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0523419, "0.0523"), (2.6, "2.60"), (12345.0, "12345"), (0, "0")]
)
def test_significant_digits(value, text):
    assert stats.significant(value) == text


def test_the_first_epoch_of_a_fit_is_kept_apart():
    rounds = [[3.0, 1.0, 1.5], [4.0, 1.0, 1.0], [9.0, 2.0, 2.0]]
    assert steady(rounds) == [1.0, 1.5, 1.0, 1.0, 2.0, 2.0]
    assert starts(rounds) == 3.0
    assert steady([[7.0]]) == [7.0]


def test_the_fastest_settings_are_those_of_the_least_median():
    tried = [
        {"settings": {"cpus": 1}, "seconds": [1.0, 9.0, 9.0]},
        {"settings": {}, "seconds": [2.0, 2.0, 50.0]},
    ]
    assert fastest(tried, {"unroll": 4}) == {}
    assert fastest([], {"unroll": 4}) == {"unroll": 4}


# --- the job and its reference --------------------------------------------------------------------


def test_a_job_survives_json():
    job = replace(TINY, inputs="standardised")
    assert BenchmarkJob.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_dense_work_is_what_the_literature_counts():
    assert BenchmarkJob().flop_per_sample == 174_800
    assert BenchmarkJob().steps == 1_875


@pytest.mark.parametrize(
    ("inputs", "low", "high"), [("scaled", 0, 1), ("standardised", -0.43, 2.83), ("bytes", 0, 255)]
)
def test_inputs(folder, inputs, low, high):
    x, y = load_arrays(folder, replace(TINY, inputs=inputs))
    assert x.shape == (40, 28, 28) and y.shape == (40,)
    assert low <= x.min() and x.max() <= high
    assert x.dtype == (np.uint8 if inputs == "bytes" else np.float32)
    assert (x != 0).all() == (inputs == "standardised")


def test_more_samples_than_there_are_is_an_error(folder):
    with pytest.raises(ValueError, match=r"samples=41.*has 40"):
        load_arrays(folder, replace(TINY, samples=41))


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_a_set_has_the_density_asked_for(folder, density):
    images = ImageSets.__new__(ImageSets)
    images.folder = folder
    images.test = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
    x = np.load(folder / f"{images.with_density(density, 50)}-train-x.npy")
    assert (x > 0).mean() == pytest.approx(density, abs=0.02)


def test_the_reference_trainer_takes_the_models_own_steps(folder):
    """Adam is spelled out a second time in the oracle: with Keras's constants it is the model's."""
    job = replace(TINY, dtype="float64")
    x, y = load_arrays(folder, job)
    trajectory = oracle.float64_trajectory(job, x, y, "keras")
    model = oracle.network(job, "float64")
    model.set_weights(initial_weights(job))
    for rows in trajectory.order.reshape(-1, job.batch):
        model.train_on_batch(x[rows], y[rows])
    for ours, theirs in zip(model.get_weights(), trajectory.weights[3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def follow(folder, job, spoil=None):
    """The verdict on plain NumPy, whole or with something wrong in it."""
    judge = oracle.Oracle(folder)
    x, y = load_arrays(folder, job)
    order = np.load(judge.order(job, "paper"))
    peer, done, found = Peer(job, initial_weights(job), {}), 0, {}
    if spoil:
        spoil(peer)
    for steps in job.checked:
        rows = order[done * job.batch : steps * job.batch]
        peer.fit(peer.hold(x[rows], y[rows]), 1, None, Laps())
        found |= {f"{steps}/{i}": w for i, w in enumerate(peer.weights())}
        done = steps
    np.savez(folder / "weights.npz", **found)
    return judge.weights(job, "paper", folder / "weights.npz")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_peer_is_right(folder, dtype):
    verdict = follow(folder, replace(TINY, dtype=dtype))
    assert verdict.right, verdict.words


def wrong_output_bias(peer):
    step = peer.adam_step
    peer.adam_step = lambda gradients: step([*gradients[:-1], gradients[-1][::-1]])


def late_step_counter(peer):
    peer.t = 1


def larger_epsilon(peer):
    step = peer.adam_step

    def softened(gradients):
        before = [w.copy() for w in peer.params]
        step(gradients)
        for w, old in zip(peer.params, before, strict=True):
            w += 1e-3 * (old - w)

    peer.adam_step = softened


@pytest.mark.parametrize("spoil", [wrong_output_bias, late_step_counter, larger_epsilon])
def test_a_wrong_peer_is_wrong_however_plausible(folder, spoil):
    assert not follow(folder, TINY, spoil).right


def test_weights_that_are_no_numbers_are_wrong(folder):
    def spoil(peer):
        peer.params[0][0, 0] = np.nan

    assert not follow(folder, TINY, spoil).right


@pytest.mark.parametrize("head", ["sigmoid", "softmax", "logits"])
def test_outputs_are_judged_under_the_peers_own_head(folder, head):
    peer = Peer(TINY, initial_weights(TINY), {})
    x, _ = load_arrays(folder, TINY, "test")
    outputs = oracle.as_head(peer.predict(x).astype(np.float64), head)
    weights = {str(i): w for i, w in enumerate(peer.weights())}
    path, judge = folder / "outputs.npz", oracle.Oracle(folder)
    np.savez(path, outputs=outputs, **weights)
    assert judge.outputs(TINY, head, path).right
    np.savez(path, outputs=outputs[::-1], **weights)
    assert not judge.outputs(TINY, head, path).right


# --- protocol and arena, with peers that are a few lines of Python --------------------------------

FAKE = """
import json, sys
print(json.dumps({hello}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    {body}
"""
GREETING = {"adam": "keras", "head": "logits", "versions": {}, "differs": ""}
ANSWER = "print(json.dumps({'seconds': [1.0], 'fit_seconds': 1.0}), flush=True)"


def fake(tmp_path: Path, body: str = ANSWER, hello=GREETING, timeout: float = 10) -> Process:
    code = FAKE.format(hello=hello, body=body)
    return Process("fake", tmp_path, command=[sys.executable, "-c", code], timeout=timeout)


def test_an_answer_comes_back(tmp_path):
    process = fake(tmp_path)
    assert process.ask("train", epochs=1) == {"seconds": [1.0], "fit_seconds": 1.0}
    process.close()
    assert process.process.poll() == 0


FAILING = [
    ("raise SystemError('no more')", "crashed", "SystemError: no more"),
    ("print('nonsense', flush=True)", "crashed", "exit code"),
    ("import time; time.sleep(60)", "hangs", "no answer in"),
    ("print(json.dumps({'failed': 'refuses', 'reason': 'x'}), flush=True)", "refuses", "x"),
]


@pytest.mark.parametrize(("body", "kind", "reason"), FAILING)
def test_a_peer_that_fails_is_left_out_by_name(tmp_path, body, kind, reason):
    process = fake(tmp_path, body)
    with pytest.raises(LeftOut, match=reason) as caught:
        process.ask("train", timeout=0.3 if kind == "hangs" else 10)
    assert caught.value.kind == kind
    process.process.kill()
    process.close()


def test_the_runner_serves_a_real_peer_and_says_what_it_refuses(folder):
    process = Process("numpy_plain", folder)
    judge, path = oracle.Oracle(folder), folder / "served.npz"
    options = {"settings": {}, "folder": str(folder)}
    process.ask("prepare", job=TINY.to_json(), **options)
    process.ask("check", order=str(judge.order(TINY, "paper")), to=str(path))
    assert judge.weights(TINY, process.hello["adam"], path).right
    answer = process.ask("train", epochs=2, memory=True)
    assert len(answer["seconds"]) == 2 and answer["peak_bytes"] >= 0
    assert len(process.ask("train", epochs=9, target=0.0)["seconds"]) == 1  # reached at once
    with pytest.raises(LeftOut, match="takes floating inputs only") as caught:
        process.ask("prepare", job=replace(TINY, inputs="bytes").to_json(), **options)
    assert caught.value.kind == "refuses"
    process.close()


def test_a_peer_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(LeftOut, match="no_such_peer") as caught:
        Process("no_such_peer", tmp_path)
    assert caught.value.kind == "missing"


class ScriptedArena(Arena):
    """An arena on made-up images, whose contestants are scripts."""

    def __init__(self, folder, peers):
        def start(peer, place, cpus):
            if isinstance(peers[peer], LeftOut):
                raise peers[peer]
            return peers[peer]

        super().__init__(factory=start)
        self.folder, self.oracle = folder, oracle.Oracle(folder)
        self.console.quiet = True
        self.control.measure = lambda: 0.0


def test_a_wrong_result_is_refused_and_a_missing_peer_named(folder, tmp_path):
    shapes = [list(w.shape) for w in initial_weights(TINY)]
    wrong = (
        "import numpy as np; "
        f"saved = {{f'{{s}}/{{i}}': np.zeros(h) for s in (1, 3) for i, h in enumerate({shapes})}}; "
        "request['do'] == 'check' and np.savez(request['to'], **saved); "
        "print(json.dumps({}), flush=True)"
    )
    gone = LeftOut("gone", "missing", "No module named 'gone'")
    arena = ScriptedArena(folder, {"fake": fake(tmp_path, wrong), "gone": gone})
    assert arena.prepare(Contestant("fake", "a wrong one", {}), TINY) is None
    assert arena.prepare(Contestant("gone", "an absent one", {}), TINY) is None
    assert [(entry["name"], entry["why"].split(":")[0]) for entry in arena.left_out] == [
        ("a wrong one", "wrong result"),
        ("an absent one", "missing"),
    ]
    assert arena.alive == {}


def test_rounds_go_on_without_who_crashed(folder, tmp_path):
    answer = {"seconds": [1.0, 2.0], "fit_seconds": 3.0, "losses": [1.0], "accuracies": [0.5]}
    answer |= {"extra_bytes": 0, "peak_bytes": None, "waited_seconds": 1.0, "busy_seconds": 0.9}
    good = fake(tmp_path, f"print(json.dumps({answer!r}), flush=True)")
    arena = ScriptedArena(folder, {"good": good, "bad": fake(tmp_path, "sys.exit(3)")})
    ready = {
        Contestant(name, name, {}): {"name": name, "rounds": [], "fits": []}
        for name in ("good", "bad")
    }
    rows = arena.rounds(ready, 2, train_turn(2))
    assert [row["name"] for row in rows.values()] == ["good"]
    assert next(iter(rows.values()))["rounds"] == [[1.0, 2.0]] * 2
    if hasattr(signal, "SIGSTOP"):  # it said that it never sleeps: stopped, and woken for its turn
        assert next(iter(rows.values()))["stopped_between_turns"]
    assert arena.left_out[0]["name"] == "bad" and "exit code 3" in arena.left_out[0]["why"]
    arena.dismiss()


def test_a_peak_is_what_was_held_and_let_go():
    with peak_memory() as peak:
        held = np.ones(8_000_000)
        del held
    assert peak.bytes is not None and peak.bytes > 30e6


def test_peers_and_settings_have_names():
    assert words({"steps_per_execution": 64, "cpus": 2}) == "steps_per_execution=64, on 2 cpus"
    assert as_called(ENTRIES[0]).name == markdown.BASELINE
    assert [entry.peer for entry in chosen(["jax_scan", "scratchnet"])] == ["jax_scan"]
    with pytest.raises(ValueError, match=r"peer='jaxx'.*jax_scan"):
        chosen(["jaxx"])
    folder = Path(markdown.__file__).parents[1] / "peers"
    assert all((folder / f"{entry.peer}.py").exists() for entry in ENTRIES)


# --- results and report ---------------------------------------------------------------------------


def row(name, seconds, **more):
    return {
        "name": name,
        "settings": {"cpus": 1} if name.endswith("best") else {},
        "differs": "",
        "rounds": [[2 * seconds, seconds, seconds], [2 * seconds, seconds, seconds]],
        "import_seconds": 1.0,
        "first_epoch_seconds": 3 * seconds,
        "test_accuracy": 0.97,
    } | more


@pytest.fixture
def results(tmp_path):
    """A machine's folder with one result as `train` writes it."""
    job = {
        "words": "the net",
        "job": BenchmarkJob().to_json(),
        "steps": 1875,
        "flop_per_epoch": 1e10,
        "searches": [],
        "rows": [
            row("Keras on TensorFlow, as called", 2.0, stopped_between_turns=True),
            row("Keras on TensorFlow, at its best", 1.0),
            row("scratchnet, compiled, 1 thread", 0.05, differs="nothing"),
        ],
    }
    environment = {"cpu": "a chip", "threads": 2, "python": "3", "versions": {"numpy": "2"}}
    control = {"noisy": True, "worst": 2.0, "spread": 0.5, "samples": [1.0, 2.0]}
    body = {
        "jobs": {"mnist": job},
        "peaks": {"sgemm_1": 200.0, "fma_1": None},
        "environment": environment,
        "control": control,
        "data": "MNIST",
        "left_out": [{"name": "PyTorch", "why": "missing: torch", "job": ""}],
    }
    store.write("train", False, body, tmp_path / "a-chip")
    return tmp_path / "a-chip"


def test_a_result_comes_back_as_it_was_written(results):
    record = store.read("train", results)
    assert record["jobs"]["mnist"]["rows"][0]["rounds"] == [[4.0, 2.0, 2.0]] * 2
    assert store.read("predict", results) is None
    store.write("predict", False, {}, results, partial=True)
    assert store.read("predict", results) is None
    path = results / "train.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))
    with pytest.raises(ValueError, match="format 0: expected 1"):
        store.read("train", results)


def test_the_table_says_everything_that_belongs_beside_a_number(results):
    text = markdown.table(store.read("train", results))
    assert "| scratchnet, compiled, 1 thread | 0.0500 (0.0500 to 0.0500) | 40 x |" in text
    assert "100%" in text  # 1e10 FLOP in 0.05 s are all of 200 GFLOP/s
    for note in ("Noisy machine", "Left out: PyTorch (missing: torch)", "a chip", "on 1 cpu"):
        assert note in text
    assert "stopped between turns: Keras on TensorFlow, as called" in text


def test_the_readme_is_rewritten_between_its_markers_only(results, capsys):
    readme = results / "README.md"
    readme.write_text(
        "above\n<!-- benchmark:a-chip/train -->\nthe last one\n<!-- /benchmark -->\nbelow\n"
    )
    write.everything(results.parent, None, readme, ["train", "predict"])
    text = readme.read_text()
    assert text.startswith("above\n<!-- benchmark:a-chip/train -->\n| the net")
    assert text.endswith("<!-- /benchmark -->\nbelow\n") and "the last one" not in text
    write.everything(results.parent, None, readme, ["train"])
    assert readme.read_text() == text


MARKER = "<!-- benchmark:a-chip/train -->"
UNMARKED = {"nothing": f"has none of {MARKER}", f"{MARKER}\n": "Put it on a line below"}
UNMARKED |= {f"{MARKER} {MARKER}": "2 lines"}


@pytest.mark.parametrize(("text", "message"), UNMARKED.items())
def test_a_missing_marker_is_an_error_with_its_remedy(results, text, message):
    readme = results / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match=message):
        write.everything(results.parent, None, readme, ["train"])
    assert readme.read_text() == text


def test_machines_stand_side_by_side(results):
    """Another machine's result, of which the last row is missing, beside the first one's."""
    record = store.read("train", results)
    record["environment"] |= {"cpu": "another", "target": "haswell"}
    rows = record["jobs"]["mnist"]["rows"]
    rows[2]["rounds"] = [[9.0, 0.1, 0.1]]
    rows.append(row("scratchnet, compiled, 2 threads", 0.08))
    store.write("train", True, record | {"quick": True}, results.parent / "another")
    readme = results / "README.md"
    marks = "benchmark:a-chip/epoch", "benchmark:machines", "benchmark:another/train"
    readme.write_text("".join(f"<!-- {mark} -->\n<!-- /benchmark -->\n" for mark in marks))
    write.everything(results.parent, None, readme, ["train"])
    text = readme.read_text()
    assert "| a chip | 2.00 | 0.0500 (0.0500 to 0.0500) | 40 x |  |  |" in text
    ours = "0.100 (0.100 to 0.100) | 20 x | 0.0800 (0.0800 to 0.0800) | 25 x |"
    assert f"| another, compiled for haswell, quick run | 2.00 | {ours}" in text
    assert "train --quick --cpu haswell`" in text


@pytest.fixture
def environment(monkeypatch):
    """An environment of our own to change: what is set in it is gone afterwards."""
    for name in (machine.TARGET, "NUMBA_CPU_FEATURES"):
        monkeypatch.setenv(name, "")
    return os.environ


def test_another_cpus_results_have_a_folder_of_their_own(environment, tmp_path, monkeypatch):
    """And what is measured runs where Numba compiles for that CPU, with nothing of this one's."""

    class Idle(Arena):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def record(self):
            return {"environment": machine.describe_machine()}

    def measured(arena, quick):
        return {"seen": [environment[machine.TARGET], environment["NUMBA_CPU_FEATURES"]]}

    monkeypatch.setattr(main, "Arena", Idle)
    monkeypatch.setattr(markdown, "table", str)
    monkeypatch.setitem(main.MEASURED, "train", measured)
    for cpu in (None, "haswell"):
        environment["NUMBA_CPU_FEATURES"] = "+avx512f"
        main.measure(["train"], False, tmp_path, cpu)
    here, other = sorted(store.machines(tmp_path).values())
    assert other.name == f"{here.name}-as-haswell"
    record = store.read("train", other)
    assert (record["seen"], record["environment"]["target"]) == (["haswell", ""], "haswell")
    record = store.read("train", here)
    assert (record["seen"], record["environment"]["target"]) == (["", "+avx512f"], "")


def test_a_cpu_that_does_not_exist_is_an_error(environment):
    with pytest.raises(ValueError, match=r"cpu='hazwell': expected a name that LLVM knows"):
        machine.compile_for("hazwell")
    assert environment[machine.TARGET] == ""


def test_no_results_is_an_error_with_its_remedy(tmp_path):
    with pytest.raises(ValueError, match="python -m benchmarks all"):
        write.everything(tmp_path, None, None, ["train"])


def test_figures_are_drawn(results):
    from benchmarks.rendering.figures import draw_figures

    record = store.read("train", results)
    record["jobs"]["hundred"] = {"rows": [row("scratchnet", 0.05)], "words": "", "job": {}}
    paths = draw_figures(record, results / "figures")
    assert [path.name for path in paths] == ["train-mnist.png", "train-hundred.png", "roofline.png"]
    assert all(path.stat().st_size > 1000 for path in paths)
