"""`scratchnet predict` as people use it: what it reads, draws and writes, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
import sys

import numpy as np
import photos
import pytest
from PIL import Image
from results import a_result
from rich.console import Console

from scratchnet import datasets, layers, models
from scratchnet.app import images, run_folder, run_training
from scratchnet.app.cli import predict
from scratchnet.app.text import to_json
from scratchnet.datasets import digits

pytest_plugins = ["commandline"]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A run on the bundled digits, as people without MNIST have it."""
    path = tmp_path_factory.mktemp("runs") / "mine"
    data = digits.load_data()
    job = run_training.RunSettings(epochs=30, engine="reference")
    outcome = run_training.train_solo(data, job)
    with run_folder.RunFolder(path, "train") as folder:
        folder.save_model(outcome.model)
        folder.save_result(a_result(settings={"engine": "reference"}))
    return path


@pytest.fixture
def read(run, mine):
    def invoke(*arguments: str):
        return run("predict", "--model", str(mine), *arguments)

    return invoke


@pytest.fixture
def five(tmp_path):
    photos.pencilled(5).save(tmp_path / "five.png")
    return "five.png"


def answers(result) -> dict[str, dict]:
    return {found["image"]: found for found in json.loads(result.stdout)["images"]}


def after_the_model(result) -> str:
    """What is said on standard error beside the model's name."""
    first, _, rest = result.stderr.partition("\n")
    assert first.startswith("Model: ")
    return rest


# --- what is read ---------------------------------------------------------------------------------


def test_a_photo_is_one_line_on_standard_output(read, mine, five):
    result = read(five)
    said = f"Model: {mine}, trained for 10 epochs on scikit-learn digits\n"
    assert (result.exit_code, result.stderr) == (0, said)
    probabilities = softmax_of(run_folder.read_run(mine).model(), photos.pencilled(5))
    assert probabilities.argmax() == 5
    assert result.stdout == f"five.png: 5 ({probabilities[5]:.1%})\n"


def softmax_of(model, page) -> np.ndarray:
    """By its definition, in float64, from the weights themselves."""
    A = images.to_mnist(page)[0].reshape(1, -1) / 255
    *hidden, head = [layer for layer in model.layers if layer.params]
    for layer in hidden:
        A = np.maximum(A @ layer.params["kernel"] + layer.params["bias"], 0)
    z = (A @ head.params["kernel"] + head.params["bias"])[0]
    z /= predict.TEMPERATURE
    return np.exp(z) / np.exp(z).sum()


def test_json_says_all_of_it(read, mine, five):
    result = read(five, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    found = answers(result)["five.png"]
    expected = softmax_of(run_folder.read_run(mine).model(), photos.pencilled(5))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    assert (found["digit"], found["confidence"]) == (5, max(found["probabilities"]))
    _, findings = images.to_mnist(photos.pencilled(5))
    assert found["box"] == pytest.approx(findings.box)
    assert (found["inverted"], found["warnings"]) == (False, [])


def test_folders_patterns_and_names_with_brackets(read, tmp_path):
    for name in ("a/2.png", "a/1.PNG", "a/notes.txt", "a/old.pdf", "b/x[1].jpg", "b/x1.jpg"):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        if place.suffix in (".txt", ".pdf"):
            place.write_text("of no concern")
        else:
            photos.pencilled(1).save(place)
    result = read("a", "b/x[1].jpg", "b/*.jpg", "--json")
    read_ones = [found["image"] for found in json.loads(result.stdout)["images"]]
    assert read_ones == ["a/1.PNG", "a/2.png", "b/x[1].jpg", "b/x1.jpg", "b/x[1].jpg"]
    assert result.exit_code == 0


def test_a_model_file_reads_as_its_run_does(run, read, mine, five):
    by_file = run("predict", "--model", str(mine / "model.npz"), five)
    assert by_file.stdout == read(five).stdout and by_file.exit_code == 0


def test_an_interrupted_run_reads_too(run, mine, five, tmp_path):
    shutil.copytree(mine, tmp_path / "half")
    (tmp_path / "half" / run_folder.RESULT).unlink()
    assert run("predict", "--model", "half", five).exit_code == 0


def test_a_network_on_raw_pixels_is_given_raw_pixels(run, five, tmp_path):
    data = digits.load_data()
    outcome = run_training.train_solo(
        data, run_training.RunSettings(epochs=8, scaled=False, engine="reference")
    )
    models.save_model(outcome.model, tmp_path / "raw.npz")
    found = answers(run("predict", "--model", "raw.npz", five, "--json"))["five.png"]
    z = outcome.model.run(images.to_mnist(photos.pencilled(5))[0][None])[-1].Z[0]
    assert found["digit"] == z.argmax()


# --- doubts ---------------------------------------------------------------------------------------


def test_a_blank_page_has_no_digit(read, tmp_path):
    Image.new("L", (300, 400), 240).save(tmp_path / "blank.png")
    result = read("blank.png")
    assert (result.exit_code, result.stdout) == (0, "blank.png: no digit\n")
    assert after_the_model(result) == "Warning: blank.png: no strokes were found on it.\n"
    found = answers(read("blank.png", "--json"))["blank.png"]
    assert (found["digit"], found["confidence"], found["box"]) == (None, None, None)


def test_what_looks_like_no_digit_is_said_aloud(read, tmp_path):
    photos.pencilled(4).crop((0, 0, 300, 220)).save(tmp_path / "cut.png")
    result = read("cut.png")
    assert result.exit_code == 0
    assert (
        "Warning: cut.png: it runs into the edge of the picture, and may be cut off."
        in result.stderr
    )
    quiet = read("cut.png", "--quiet")
    assert quiet.stderr == "" and quiet.stdout == result.stdout


def test_a_network_that_is_unsure_says_between_what(read, five, monkeypatch):
    found = answers(read(five, "--json"))["five.png"]
    monkeypatch.setattr(predict, "UNSURE", found["confidence"] * 1.01)
    second = np.argsort(found["probabilities"])[-2]
    warning = f"Warning: five.png: the network is unsure: 5, or {second}.\n"
    assert after_the_model(read(five)) == warning
    monkeypatch.setattr(predict, "UNSURE", found["confidence"] * 0.99)
    assert after_the_model(read(five)) == ""


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_bad_file_is_one_line_and_the_rest_go_on(read, five, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "nothing").mkdir()
    names = ["empty.png", "nowhere.png", "text.png", "nothing", "no*thing.jpg"]
    result = read(*names, five)
    assert result.exit_code == 2 and result.stdout.startswith("five.png: 5 (")
    lines = after_the_model(result).splitlines()
    assert [line.split(": ")[1] for line in lines] == names
    assert all(line.startswith("Error: ") and line.endswith(".") for line in lines)
    found = read(*names, five, "--json")
    assert found.exit_code == 2 and found.stderr == after_the_model(result)
    assert [("error" in answer) for answer in answers(found).values()] == [True] * 5 + [False]


def test_heic_in_a_folder_is_not_left_out_silently(read, five, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a").mkdir()
    (tmp_path / five).rename(tmp_path / "a" / five)
    (tmp_path / "a" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x1cftypheic" + bytes(16))
    result = read("a")
    assert result.exit_code == 2 and result.stdout.startswith("a/five.png: 5 (")
    assert after_the_model(result).startswith("Error: a/IMG_1.HEIC: is a HEIC picture, which needs")


def test_a_model_that_takes_no_photos_is_refused_in_one_line(run, five, tmp_path):
    small = models.Sequential([layers.Input((8, 8)), layers.Flatten(), layers.Dense(10)], seed=0)
    models.save_model(small, tmp_path / "small.npz")
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / run_folder.HISTORY).write_text(
        to_json({"format": run_folder.FORMAT, "kind": "train"})
    )
    (tmp_path / "other").mkdir()
    refused = {
        "small.npz": "from 8 x 8 to 10: expected one from 28 x 28 pixels",
        "text.npz": "not a saved model",
        "half": "is half written",
        "other": "is not a run",
        "nowhere": "does not exist",
    }
    for model, words in refused.items():
        result = run("predict", "--model", model, five)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"Error: {model}") and words in result.stderr
        assert result.stderr.count("\n") == 1


def test_without_a_model_that_of_runs_train_reads(run, mine, five, tmp_path):
    missing = run("predict", five)
    assert missing.exit_code == 2 and missing.stderr.startswith("Error: runs/train does not exist")
    shutil.copytree(mine, tmp_path / "runs" / "train")
    assert run("predict", five).stdout == run("predict", "--model", str(mine), five).stdout


def test_without_a_photo_the_usage_is_shown(run):
    for arguments in ([], ["--model", "a"], ["--model", "a", "b.png", "--enlarge", "0"]):
        result = run("predict", *arguments)
        assert result.exit_code == 2 and "Usage" in result.stderr and result.stdout == ""


# --- pictures -------------------------------------------------------------------------------------


def test_png_is_what_the_network_saw_and_can_be_enlarged(read, five, tmp_path):
    digit, _ = images.to_mnist(photos.pencilled(5))
    (tmp_path / "b").mkdir()
    photos.pencilled(5).save(tmp_path / "b" / "five.png")
    found = answers(read(five, "b", "--png", "seen/all", "--json"))
    places = [tmp_path / answer["png"] for answer in found.values()]
    assert len({*places}) == 2
    for place in places:
        np.testing.assert_array_equal(np.asarray(Image.open(place)), digit)
    again = read(str(places[0]), "--json")
    assert answers(again)[str(places[0])]["digit"] == 5, "reads its own picture"
    read(five, "--png", "large", "--enlarge", "5")
    (large,) = (tmp_path / "large").iterdir()
    np.testing.assert_array_equal(np.asarray(Image.open(large)), np.kron(digit, np.ones((5, 5))))


def test_the_picture_is_drawn_where_somebody_looks_or_asks(read, five):
    drawn = read(five, "--show").stdout.splitlines()
    assert len(drawn) == 15 and drawn[-1].startswith("five.png: 5")
    assert "█" in "".join(drawn[:-1]) and len(read(five).stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("encoding", "options", "alphabet"),
    [
        ("utf-8", {"color_system": None}, set(" ▀▄█\n")),
        ("utf-8", {"color_system": "truecolor", "force_terminal": True}, set("▀\n")),
        ("ascii", {"color_system": None}, set(predict.SHADES) | {"\n"}),
        ("utf-8", {"color_system": "truecolor", "no_color": True}, set(" ▀▄█\n")),
    ],
)
def test_a_picture_is_as_good_as_the_screen(encoding, options, alphabet):
    pixels = images.to_mnist(photos.pencilled(5))[0]
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    text = predict.picture_of(pixels, Console(file=screen, **options))
    lines = text.plain.split("\n")
    assert set(text.plain) <= alphabet and len(lines) == 14
    assert {len(line) for line in lines} == {28}
    if alphabet != set("▀\n"):
        inked = np.array([[mark != " " for mark in line] for line in lines])
        pairs = np.maximum(pixels[::2], pixels[1::2])
        assert inked[pairs > 200].all() and not inked[pairs == 0].any()
    else:
        styles = {str(span.style) for span in text.spans}
        assert "rgb(0,0,0) on rgb(0,0,0)" in styles and len(styles) > 10


def test_the_bundled_digits_are_read_by_the_network_that_learned_them(mine):
    _, (x_test, y_test) = datasets.digits.load_data()
    model = run_folder.read_run(mine).model()
    chosen = [images.to_mnist(Image.fromarray(image))[0] for image in x_test[:100]]
    right = model.run(np.array(chosen))[-1].Z.argmax(axis=1) == y_test[:100]
    plain = model.run(x_test[:100])[-1].Z.argmax(axis=1) == y_test[:100]
    assert right.sum() >= plain.sum() - 3
