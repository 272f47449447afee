"""The page of a run: its numbers are the run's, it stands alone, and anyone can read and use it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from scratchnet import datasets, plots
from scratchnet.app import cli, pictures, run_folder, run_training, verdict
from scratchnet.app.cli import training
from scratchnet.app.cli.screen import Screen
from scratchnet.app.pages import report_page
from scratchnet.app.run_folder import RunError
from scratchnet.app.run_training import KERAS, OURS, RunSettings, Scores

pytest_plugins = ["browser"]

HARM = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'&"


PIXELS = """img => {
  const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
  [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
  pen.drawImage(img, 0, 0);
  return [...pen.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def beside_another(data, settings, progress, save_epoch, **_):
    """`compare` without TensorFlow: a second network of ours under Keras's name."""
    outcome = run_training.train_solo(data, settings, progress, save_epoch)
    other = run_training.train_solo(
        data, RunSettings(**{**vars(settings), "seed": settings.seed + 1})
    )
    outcome.scores[KERAS] = other.scores[OURS]
    outcome.histories[KERAS] = other.histories[OURS]
    labels, answers = data[1][1], outcome.answers
    right = {name: given == labels for name, given in answers.items()}
    pairs = [(step, 1e-15 * step) for step in range(1, 31)]
    outcome.result |= {
        "parity": True,
        "lockstep": {
            "holds": True,
            "steps": 30,
            "limit": 1e-12,
            "largest_weight_difference": 3e-14,
            "largest": {"loss": 0.25, "weights": 0.0},
            "difference": None,
            "drift": pairs,
        },
        KERAS: other.result[OURS],
        "speed_ratio": 2.5,
        "agreement": {
            "same": int(np.sum(answers[OURS] == answers[KERAS])),
            "of": len(labels),
            f"only_{OURS}_right": int(np.sum(right[OURS] & ~right[KERAS])),
            f"only_{KERAS}_right": int(np.sum(right[KERAS] & ~right[OURS])),
            "mcnemar_p": 0.25,
        },
        "misread": run_training.misread(labels, outcome.scores),
        "weight_difference": [1e-6, 2e-3, 0.5],
    }
    save_epoch(outcome.model, outcome.histories)
    return outcome


def finished(path: Path, kind: str, train) -> Path:
    """A run folder, written by what the commands write it with."""
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    data = (x[:400], y[:400]), (x_test[:200], y_test[:200])
    choice = datasets.Choice("digits", "the small digits", data)
    job = RunSettings(epochs=3, engine="reference")
    task = training.Task(kind, job, choice, None, path, [kind, "--data", "a file"])
    with pytest.MonkeyPatch.context() as patched:  # all of them take long, and aren't looked at
        one = lambda folder, *_: folder.save_pictures({"curves": Figure()})  # noqa: E731
        patched.setattr(pictures, "draw", one)
        training.train_into_folder(task, train, Screen(quiet=True))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    """A run of each kind with its report; tests that change one take `folder`."""
    base = tmp_path_factory.mktemp("runs")
    return {
        "train": finished(base / "train", "train", run_training.train_solo),
        "compare": finished(base / "compare", "compare", beside_another),
    }


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole["compare"], tmp_path / "run"))


def change(folder: Path, **values) -> None:
    """Other values in result.json."""
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | values))


def cells(seen, caption: str) -> list[list[str]]:
    """The rows of the table in the region of that name, as words."""
    rows = seen.page.locator(f"[role=region][aria-label={json.dumps(caption)}] tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


# --- the numbers are the run's --------------------------------------------------------------------


def test_the_tables_are_the_runs_own(whole, visit):
    run, seen = run_folder.read_run(whole["compare"]), visit(whole["compare"] / "report.html")
    seen.open_details()
    ours, theirs = run.result[OURS], run.result[KERAS]
    rows = {row[0]: row[1:] for row in cells(seen, "Numbers after the last epoch")}
    assert rows["training loss"] == [f"{ours['loss']:.4f}", f"{theirs['loss']:.4f}"]
    assert rows["test accuracy"] == [f"{m['test_accuracy']:.2%}" for m in (ours, theirs)]
    assert rows["times as fast as Keras"] == ["2.5", "1.0"]
    for metric, form in (("loss", "{:.4f}"), ("accuracy", "{:.2%}")):
        told = cells(seen, f"The {metric}.")
        for epoch, row in enumerate(told):
            wanted = [
                run.history[name][part + metric][epoch]
                for name in (OURS, KERAS)
                for part in ("", "val_")
            ]
            assert row == [str(epoch + 1), *(form.format(value) for value in wanted)]
        assert len(told) == 3
    drift = cells(
        seen, "The largest difference of any weight, step by step, on logarithmic scales."
    )
    assert drift[:3] == [
        ["float32 training", "13", "1.00e-06"],  # 400 images in batches of 32
        ["float32 training", "26", "2.00e-03"],
        ["float32 training", "39", "5.00e-01"],
    ]
    assert drift[-1] == ["float64 lockstep", "30", "3.00e-14"]
    assert cells(seen, "Lockstep by kind of tensor") == [["loss", "0.25"], ["weights", "0"]]


def test_the_confusion_matrices_count_digits_in_rows_and_answers_in_columns(whole, visit):
    seen = visit(whole["compare"] / "report.html")
    answers = run_folder.read_run(whole["compare"]).answers
    for name, shown in ((OURS, "scratchnet"), (KERAS, "Keras")):
        counts = np.zeros((10, 10), int)
        for label, given in zip(
            answers["labels"], answers[f"{name}_outputs"].argmax(1), strict=True
        ):
            counts[label, given] += 1
        rows = cells(seen, f"Confusion matrix of {shown}")
        assert [[int(cell or 0) for cell in row[1:]] for row in rows] == counts.tolist()


def test_every_misread_digit_stands_with_its_image_its_label_and_both_answers(whole, visit):
    run, seen = run_folder.read_run(whole["compare"]), visit(whole["compare"] / "report.html")
    columns, answers = run.result["misread"], run.answers
    told = {}
    for item in seen.page.locator(".digits li").all():
        index = int(item.locator("img").get_attribute("alt").removeprefix("test image "))
        told[index] = item.locator("span").all_inner_texts()
        pixels = item.locator("img").evaluate(PIXELS)
        image = answers["misread_images"][answers["misread_index"].tolist().index(index)]
        ink = 255 - np.array(pixels).reshape(-1, 4)[:, 0]
        brightest = answers["misread_images"].max()
        np.testing.assert_allclose(ink, image.ravel() * (255 / brightest), atol=1)
    by_kind = {}
    for row in zip(*columns.values(), strict=True):
        index, label, ours, theirs = row
        kind = (ours != label, theirs != label)
        by_kind.setdefault(kind, set()).add(index)
        if index in told:
            ticks = [" ✓" if answer == label else "" for answer in (ours, theirs)]
            wanted = [
                f"this is {label}",
                f"scratchnet {ours}{ticks[0]}",
                f"Keras {theirs}{ticks[1]}",
            ]
            assert told[index] == wanted
    for indices in by_kind.values():
        assert len(indices & set(told)) == min(len(indices), report_page.DIGITS_SHOWN)
    assert len(told) == sum(min(len(i), report_page.DIGITS_SHOWN) for i in by_kind.values())


def test_both_readings_of_the_head_are_told_apart(folder, visit):
    """Outputs tie in the first two of four images, and the lowest class is wrong in the second."""
    labels, logits = np.arange(4, dtype=np.uint8), np.zeros((4, 10), np.float32)
    logits[0, :2], logits[1, :2], logits[2, 2], logits[3, 3] = (30, 20), (20, 30), 2, 17
    outputs = 1 / (1 + np.exp(-logits))
    assert outputs[3, 3] == 1, "alone, so no tie"
    arrays = {"labels": labels, "misread_index": np.zeros(0, int)}
    arrays["misread_images"] = np.zeros((0, 8, 8), np.uint8)
    arrays |= {f"{OURS}_outputs": outputs, f"{OURS}_logits": logits}
    np.savez(folder / "answers.npz", **arrays)
    (row,) = cells(visit(report_page.write_report(folder)), "Outputs and logits")
    by_logits = (1 - np.exp(2) / (np.exp(2) + 9)) / 4  # all are right, and all but one are certain
    # Two ones and eight halves, twice; 0.88 or 1 and nine halves: all within one bin.
    third = outputs[2, 2] / (4.5 + outputs[2, 2])
    by_outputs = 3 / 4 - (1 / 6 + 1 / 6 + third + 1 / 5.5) / 4
    told = ["75.00%", "100.00%", f"{by_outputs:.1%}", f"{by_logits:.1%}", "2 of 4"]
    assert row == ["scratchnet", *told]


def test_images_of_few_shades_are_shown_in_full_contrast():
    """scikit-learn's digits count to 16, Fashion-MNIST to 255: black is the largest there is."""
    image = np.arange(17, dtype=np.uint8)[None].repeat(2, 0)
    columns = {"index": [7], "label": [1], OURS: [2]}
    answers = {"misread_index": np.array([7]), "misread_images": image[None]}
    ((digit,),) = [group["shown"] for group in report_page._misread(columns, answers)]
    address = digit["image"].partition("base64,")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address))))
    assert shown.shape == (2, 17) and (shown.max(), shown.min()) == (255, 0)
    assert digit["given"] == [("scratchnet", 2, False)]


def test_the_curves_are_drawn_from_the_runs_history(whole, monkeypatch):
    drawn = []
    true = plots.history
    monkeypatch.setattr(plots, "history", lambda *a, **k: (drawn.append(a), true(*a, **k))[1])
    report_page.html(run_folder.read_run(whole["compare"]))
    history = run_folder.read_run(whole["compare"]).history
    wanted = {"scratchnet": history[OURS], "Keras": history[KERAS]}
    assert drawn == [(wanted, "loss"), (wanted, "accuracy")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Parity holds."),
        ({"interrupted": True, "epochs": 2}, "Interrupted after 2 of 3 epochs. Parity holds."),
        ({"interrupted": True, "epochs": None}, "Interrupted after 30 steps. Parity holds."),
        ({"parity": False, "lockstep": {"difference": "dW"}}, "does not hold: dW."),
        ({"parity": False, "lockstep": {"holds": False}}, "weights 3e-14 apart, limit 1e-12."),
        ({"parity": False}, "the answers disagree beyond chance, p = 0.25."),
        ({"parity": None, "kind": "train"}, "on the test set."),
        ({"parity": None}, "Nothing was compared."),
    ],
)
def test_the_verdict_says_what_came_out_and_why(whole, changes, words):
    result = run_folder.read_run(whole["compare"]).result
    stepped = result["lockstep"] | changes.get("lockstep", {})
    assert verdict.verdict(result | changes | {"lockstep": stepped}).endswith(words)


@pytest.mark.parametrize(("parity", "tone"), [(True, "good"), (False, "bad"), (None, "")])
def test_the_verdict_comes_first_and_in_its_colour(folder, parity, tone):
    change(folder, parity=parity)
    run = run_folder.read_run(folder)
    shown = f'</h1>\n<p class="verdict {tone}">{verdict.verdict(run.result)}</p>'
    assert shown in report_page.html(run)


# --- the page stands alone ------------------------------------------------------------------------


def test_a_page_made_again_has_the_same_bytes_without_data_keras_or_network(whole, tmp_path):
    first = (whole["compare"] / "report.html").read_bytes()
    (tmp_path / "home").mkdir()
    code = (
        "import sys, socket\n"
        "sys.modules |= dict.fromkeys(('keras', 'tensorflow', 'pooch'))\n"
        "socket.socket.connect = None\n"
        "from scratchnet.app.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(whole["compare"]), "--out", "again.html"],
        cwd=whole["compare"],
        env=os.environ | {"SCRATCHNET_DATA": str(tmp_path), "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (whole["compare"] / "again.html").read_bytes() == first
    (whole["compare"] / "again.html").unlink()


def test_a_page_looks_the_same_whatever_its_user_set_for_pictures(whole):
    theirs = {"text.color": "red", "font.size": 30, "svg.fonttype": "path", "axes.grid": True}
    with rc_context(theirs):
        text = report_page.html(run_folder.read_run(whole["train"]))
    assert text == (whole["train"] / "report.html").read_text()


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [
        ("compare", 375, "light"),
        ("compare", 375, "dark"),
        ("compare", 1280, "light"),
        ("compare", 1280, "dark"),
        ("train", 375, "light"),
    ],
)
def test_nothing_leaves_overflows_is_pale_or_out_of_reach(whole, visit, kind, width, scheme):
    assert visit(whole[kind] / "report.html", width, scheme).faults() == {}


def test_pictures_have_words_and_only_colours_of_the_page(whole, visit):
    seen = visit(whole["compare"] / "report.html")
    assert seen.page.locator("svg").count() == 6
    for picture in seen.page.locator("svg, img").all():
        assert picture.get_attribute("aria-label") or picture.get_attribute("alt")
    text = (whole["compare"] / "report.html").read_text()
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    fixed = set(re.findall(r"#[0-9a-f]{6}\b", drawn))
    ends = {to_hex(colormaps["PuOr_r"](end)) for end in (0.0, 1.0)}  # of the weights' colour bar
    assert fixed <= ends, "these stay as they are in the dark"
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_links_lead_to_the_files_from_wherever_the_page_is(folder, tmp_path, visit):
    folder = folder.rename(tmp_path / "run #1, 100%?")
    (tmp_path / "pages").mkdir()
    for page in (
        report_page.write_report(folder),
        report_page.write_report(folder, tmp_path / "pages" / "a.html"),
    ):
        links = visit(page).page.locator("main a").all()
        paths = [
            Path(link.evaluate("a => decodeURIComponent(new URL(a.href).pathname)"))
            for link in links
        ]
        assert {path.name for path in paths} >= {"result.json", "model.npz", "curves.png"}
        assert all(path.is_file() for path in paths)


def test_what_a_run_holds_is_shown_and_never_obeyed(folder, visit):
    stepped = run_folder.read_run(folder).result["lockstep"] | {"difference": HARM}
    data = run_folder.read_run(folder).result["data"] | {"name": HARM}
    change(folder, data=data, command=["scratchnet", HARM], lockstep=stepped, parity=False)
    seen = visit(report_page.write_report(folder))
    assert seen.page.evaluate("window.hacked") is None
    assert not seen.errors and not seen.left and seen.page.locator("script").count() == 0
    assert HARM in seen.page.locator(".verdict").inner_text()
    assert seen.page.locator("header").inner_text().count(HARM) == 2


def test_the_largest_page_is_small(folder):
    """All of MNIST's test set, 400 images of noise kept, and not one answer right twice."""
    rng = np.random.default_rng(0)
    labels, number = rng.integers(0, 10, 10_000), 400
    given = {name: rng.normal(size=(10_000, 10)).astype(np.float32) for name in (OURS, KERAS)}
    wrong = run_training.misread(labels, {name: Scores(z, z) for name, z in given.items()})
    change(folder, misread=wrong)
    np.savez(
        folder / "answers.npz",
        labels=labels,
        misread_index=np.array(wrong["index"])[:number],
        misread_images=rng.integers(0, 256, (number, 28, 28), np.uint8),
        **{f"{name}_outputs": 1 / (1 + np.exp(-z)) for name, z in given.items()},
        **{f"{name}_logits": z for name, z in given.items()},
    )
    assert report_page.write_report(folder).stat().st_size < 2_000_000


# --- runs that are not whole ----------------------------------------------------------------------


def test_a_run_that_was_cut_off_says_so_and_shows_its_curves(folder, visit):
    for name in ("result.json", "answers.npz"):
        (folder / name).unlink()
    seen = visit(report_page.write_report(folder), 375)
    text = seen.page.locator("body").inner_text()
    assert "Not finished: training was cut off after 3 epochs" in text and "Learning" in text
    assert seen.faults() == {}


def test_a_run_without_answers_says_what_it_lacks(folder, visit):
    (folder / "answers.npz").unlink()
    text = visit(report_page.write_report(folder)).page.locator("body").inner_text()
    assert "has no answers.npz" in text and "What was misread" not in text


def test_numbers_that_were_not_finite_are_said_to_be(folder):
    history = json.loads((folder / "history.json").read_text())
    history[OURS]["loss"][-1] = None
    (folder / "history.json").write_text(json.dumps(history))
    ours = run_folder.read_run(folder).result[OURS] | {"loss": None}
    change(folder, **{OURS: ours})
    assert report_page.write_report(folder).read_text().count("not finite") >= 2


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "answers.npz").write_bytes(b"PK\3\4"), r"answers\.npz can't be read"),
        (
            lambda f: np.savez(f / "answers.npz", scratchnet_outputs=np.ones((2, 10))),
            "labels is missing",
        ),
        (
            lambda f: np.savez(
                f / "answers.npz", labels=np.ones(2, int), scratchnet_outputs=np.ones((2, 10))
            ),
            "scratchnet_logits is missing",
        ),
        (lambda f: shutil.rmtree(f), "does not exist"),
    ],
)
def test_a_damaged_run_is_one_clear_line_and_no_page(folder, tmp_path, harm, message):
    harm(folder)
    with pytest.raises(RunError, match=message):
        report_page.write_report(folder, tmp_path / "report.html")
    done = CliRunner().invoke(cli.app, ["report", str(folder), "--out", str(tmp_path / "r.html")])
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "r.html").exists()


def test_a_page_goes_only_where_a_file_can_be(folder, tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        report_page.write_report(folder, tmp_path)
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        report_page.write_report(folder, tmp_path / "nowhere" / "a.html")


def test_the_command_writes_into_the_folder_and_says_where(folder):
    done = CliRunner().invoke(cli.app, ["report", str(folder)])
    assert done.exit_code == 0 and f"{folder / 'report.html'}: 0." in done.stderr
    assert (folder / "report.html").read_text() == report_page.html(run_folder.read_run(folder))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (1e-12, "10<sup>-12</sup>"),
        (1.86e-15, "1.9&nbsp;x&nbsp;10<sup>-15</sup>"),
        (9.96e-5, "10<sup>-4</sup>"),
        (2e5, "2.0&nbsp;x&nbsp;10<sup>5</sup>"),
    ],
)
def test_small_numbers_are_written_as_people_write_them(value, written):
    signs = str.maketrans("-x", "\N{MINUS SIGN}\N{MULTIPLICATION SIGN}")
    assert report_page.power(value) == written.translate(signs)
