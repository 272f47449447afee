"""The anatomy of a step: the run replayed to its bits, the engine's numbers, the code that ran."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results import a_result
from typer.testing import CliRunner

from scratchnet import datasets
from scratchnet.app import anatomy, cli, run_folder, run_training
from scratchnet.app.anatomy import ExplainError
from scratchnet.app.pages import anatomy_page as page
from scratchnet.app.tracing import source, trace
from scratchnet.engines import reference

pytest_plugins = ["browser"]

JOB = run_training.RunSettings(epochs=2, engine="reference")
"""300 digits: 20 steps, of which each tenth has a batch of 12."""


def make_run(folder, job, data, dtype="float32"):
    """A run folder as `train` leaves it, of a plain `fit`."""
    (x, y), (x_test, _) = data
    model = run_training.build_model(job, data, dtype)
    model.fit(x, y, batch_size=job.batch_size, epochs=job.epochs, verbose=0)
    told = {"training": len(x), "test": len(x_test), "shape": x.shape[1:]}
    with run_folder.RunFolder(folder, "train") as kept:
        kept.save_model(model)
        kept.save_result(a_result(job, settings={"limit": 300, "dtype": dtype}, data=told))
    return run_folder.read_run(folder)


@pytest.fixture(scope="module")
def digits():
    return tuple((x[:300], y[:300]) for x, y in datasets.digits.load_data())


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), JOB, digits)


@pytest.fixture(scope="module")
def found(run, digits):
    return anatomy.dissect(run, digits)


@pytest.fixture(scope="module")
def with_keras(found):
    """Numbers that stand in for Keras's, a little off, so that no TensorFlow is needed."""
    steps = []
    for step in found.steps:
        theirs = {"loss": np.float32(step.loss * (1 + 1e-6))}
        for name in ("Z1", "dW1", "db3", "m W1", "new W2"):
            theirs[name] = step.tensors[name].array * np.float32(1 + 1e-6)
        steps.append(replace(step, keras=theirs))
    return replace(found, steps=steps)


@pytest.fixture(scope="module")
def html(with_keras):
    return page.html(with_keras, ["scratchnet", "explain", "runs/a b"])


def ready(seen, number=1):
    seen.page.wait_for_selector(f"body[data-shown='{number}']")
    return seen.page


def choose(opened, name, value):
    opened.check(f"input[name={name}][value='{value}']", force=True)
    if name == "step":
        opened.wait_for_selector(f"body[data-shown='{value}']")


# --- the run again --------------------------------------------------------------------------------


def test_the_replay_ends_at_the_bits_of_the_run_and_stops_at_the_wanted_steps(found):
    assert found.exact and found.apart == 0
    assert [step.number for step in found.steps] == [1, 10, 20]
    assert [len(step.tensors["y"].array) for step in found.steps] == [32, 12, 12]
    assert [step.apart for step in found.steps] == [0, 0, 0]  # the run's engine was the reference


def test_a_run_of_one_step_has_one(digits, tmp_path):
    data = tuple((x[:20], y[:20]) for x, y in digits)
    told = anatomy.dissect(make_run(tmp_path, replace(JOB, epochs=1), data), data)
    assert [step.number for step in told.steps] == [1] and told.exact


@pytest.mark.parametrize("what", ["weight", "moment"])
def test_a_run_that_is_not_what_the_replay_gives_is_told_from_one_that_is(
    run, digits, tmp_path, what
):
    shutil.copytree(run.path, tmp_path / "other")
    other = run_folder.read_run(tmp_path / "other")
    model = other.model()
    vector = model.theta if what == "weight" else model.optimizer.slots["velocity"]
    vector[7] = np.nextafter(vector[7], np.float32(1))
    model.save(tmp_path / "other" / run_folder.MODEL)
    told = anatomy.dissect(other, digits)
    assert not told.exact and (told.apart > 0) == (what == "weight")
    assert "did not end at the weights in its folder" in page.html(told)


def test_an_image_alone_is_a_batch_of_one_and_one_that_is_not_there_is_refused(run, digits):
    told = anatomy.dissect(run, digits, image=7)
    x_test, y_test = digits[1]
    for step in told.steps:
        np.testing.assert_array_equal(step.tensors["pixels"].array, x_test[7:8])
        np.testing.assert_array_equal(step.tensors["y"].array, y_test[7:8])
        assert step.tensors["share"].array.tolist() == [1] and step.apart is None
    assert "test image 7 alone" in page.html(told)
    with pytest.raises(ExplainError, match="image 300: expected one of the 300 test images"):
        anatomy.dissect(run, digits, image=300)


# --- one step: looking on changes nothing ---------------------------------------------------------


def test_every_tensor_is_that_of_the_plain_training_step(found, digits):
    _, moments, last = anatomy.replay(JOB, digits, "float32", {0, 10})
    assert last == 20
    for moment, step in zip(moments, found.steps[1:], strict=True):
        plain = run_training.build_model(JOB, digits)
        plain.theta[...] = moment.theta
        plain.optimizer.build(plain.theta)
        for name, slot in plain.optimizer.slots.items():
            slot[...] = moment.slots[name]
        plain.optimizer.iterations = moment.number - 1
        x, y = digits[0][0][moment.rows], digits[0][1][moment.rows]
        stages = {
            k.replace("_1/", "1/").replace("_2/", "2/"): v for k, v in plain.activations(x).items()
        }
        for n, name in enumerate(("dense", "dense1", "dense2"), 1):
            np.testing.assert_array_equal(step.tensors[f"Z{n}"].array, stages[f"{name}/Z"])
            np.testing.assert_array_equal(step.tensors[f"A{n}"].array, stages[f"{name}/A"])
        loss, gradients = plain.loss_and_gradients(x, y)
        plain.train_on_batch(x, y)
        assert step.loss == loss
        after = {"new": plain.get_weights()}
        for letter, slot in zip("mv", ("momentum", "velocity"), strict=True):
            views = plain.views(plain.optimizer.slots[slot])
            after[letter] = [array for view in views for array in view.values()]
        for i, name in enumerate(("W1", "b1", "W2", "b2", "W3", "b3")):
            np.testing.assert_array_equal(step.tensors[f"d{name}"].array, gradients[i])
            for kind, arrays in after.items():
                np.testing.assert_array_equal(step.tensors[f"{kind} {name}"].array, arrays[i])
            moved = step.tensors[name].array - step.tensors[f"step {name}"].array
            np.testing.assert_array_equal(moved, after["new"][i])


def test_every_sum_that_the_page_takes_apart_is_the_tensor_up_to_rounding(found):
    for step in found.steps:
        of = {
            name: page.with_one_pixel_axis(*tensor).astype(np.float64)
            for name, tensor in step.tensors.items()
        }
        axes = {name: tensor.axes for name, tensor in step.tensors.items()}
        letters = {axis: chr(97 + i) for i, axis in enumerate(page.axis_lengths(step))}
        for made in page.sums(step).values():
            parts = [part for part in (made.left, made.right) if part]
            spell = ["".join(letters[axis] for axis in axes[part]) for part in parts]
            rule = f"{','.join(spell)}->{''.join(letters[axis] for axis in axes[made.of])}"
            plus = of[made.plus] if made.plus else 0
            total = np.einsum(rule, *(of[part] for part in parts)) + plus
            size = np.einsum(rule, *(np.abs(of[part]) for part in parts)) + np.abs(plus)
            terms = page.axis_lengths(step)[made.over]
            allowed = 1.01 * (terms + 2) * 2.0**-24 * size
            assert np.all(np.abs(total - of[made.of]) <= allowed), made


def test_the_first_step_has_the_size_of_the_learning_rate(found):
    g, step = (found.steps[0].tensors[name].array for name in ("dW2", "step W2"))
    # |step| = eta |g| / (|g| + eps / sqrt(1 - beta_2)), and eps / sqrt(1 - beta_2) is 3.2e-6
    seen = np.abs(g) > 1e-3
    assert seen.sum() > 100
    np.testing.assert_allclose(step[seen], 0.001 * np.sign(g[seen]), rtol=4e-3)


def test_dead_units_and_stopped_entries_are_named():
    Z = np.array([[-1.0, 2.0, -3.0], [-0.5, -2.0, 4.0]])
    dA = np.array([[1.0, 2.0, 5.0], [3.0, -4.0, 6.0]])
    assert "Unit 0 is dead on this whole batch: z is at most -0.50000" in page.dead(Z, dA, 1)
    alive = page.dead(Z[:, 1:], dA[:, 1:], 2)
    assert "No unit is dead" in alive
    assert "for image 0 unit 1 is off: z = -3, so dA = 5 is stopped" in alive
    assert page.dead(np.abs(Z), dA, 1).startswith("0 of 6 entries are 0")
    assert page.dead(0 * Z, dA, 1).startswith("6 of 6 entries are 0")  # the slope at 0 is 0


def test_the_sigmoid_is_1_from_there_on_and_not_before():
    for dtype in (np.float32, np.float64):
        z = anatomy.saturation(np.dtype(dtype))
        both = np.array([np.nextafter(z, dtype(0), dtype=dtype), z], dtype)
        assert (reference.sigmoid(both) == 1).tolist() == [False, True]


def test_ties_are_counted_and_the_first_that_costs_an_answer_is_shown(run, digits):
    model = run.model()
    x, y = digits[1]
    plain = anatomy.ties(model, True, digits)
    assert plain.tied == 0 and plain.example is None
    assert plain.accuracy == plain.accuracy_of_logits == np.mean(model.predict(x).argmax(1) == y)
    model.layers[-1].kernel[...] *= 30
    outputs = run_training.scores_of(model, x).outputs
    ones = np.bincount((outputs == 1).sum(axis=1), minlength=11)
    assert ones[1] > 0 and ones[2:].sum() > 0
    assert anatomy.ties(model, True, digits).tied == ones[2:].sum() / len(x)
    model.layers[-1].kernel[...] *= 1000  # all that is above 0 saturates
    tied = anatomy.ties(model, True, digits)
    assert tied.tied > 0.5 and tied.example is not None
    logits = run_training.scores_of(model, x).logits
    assert tied.accuracy_of_logits == np.mean(logits.argmax(1) == y) > tied.accuracy
    assert tied.logits.argmax() == tied.label == y[tied.example] != tied.outputs.argmax()


# --- the code -------------------------------------------------------------------------------------


def test_the_code_is_the_files_own_and_says_which_lines_ran(found):
    root = Path(anatomy.__file__).parents[2]
    shown = [source for stage in found.steps[0].operations for source in stage.sources]
    for one in shown:
        lines = (root / one.path).read_text().splitlines()
        assert all(lines[line.number - 1].strip() == line.text.strip() for line in one.lines)
        assert any(line.kind == "ran" for line in one.lines)
        assert not any(line.text.lstrip().startswith(">>>") for line in one.lines)
    (adam,) = {one.name: one for one in shown if one.name == "adam"}.values()
    kinds = {line.text.strip(): line.kind for line in adam.lines}
    assert kinds["if v_hat is not None:"] == "ran"
    assert kinds["v = np.maximum(v_hat, v, out=v_hat)"] == "idle"
    assert kinds["def adam("] == ""


def test_tracing_leaves_results_errors_and_other_tracers_alone():
    seen = []

    def other(frame, event, argument):
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(other)
    try:
        with pytest.raises(ZeroDivisionError):
            trace(lambda: 1 / 0)
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert after is other
    x = np.ones(3)
    calls = trace(lambda: reference.sigmoid_backward(x, x, reference.sigmoid(x)))
    assert [source([call]).name for call in calls] == ["sigmoid", "sigmoid_backward"]


LINE, CHANGED = "        Z += b\n", "        Z += b * 2  # changed\n"
SCRIPT = """import sys; from scratchnet import datasets
from scratchnet.app import anatomy, run_folder
from scratchnet.app.pages.anatomy_page import html
assert anatomy.__file__.startswith(sys.argv[1]), anatomy.__file__
data = tuple((x[:300], y[:300]) for x, y in datasets.digits.load_data())
print(html(anatomy.dissect(run_folder.read_run(sys.argv[2]), data)))
"""


def test_a_changed_line_of_the_engine_is_seen_on_the_page_with_its_consequences(
    run, html, tmp_path
):
    """In a copy of the package the bias counts twice: code and numbers must say so."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(anatomy.__file__).parents[1], tmp_path / "scratchnet", ignore=ignored)
    engine = tmp_path / "scratchnet" / "engines" / "reference.py"
    text = engine.read_text()
    assert text.count(LINE) == 1
    engine.write_text(text.replace(LINE, CHANGED))
    changed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(run.path)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,  # which -c puts first
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    plain, changed = (re.sub("<[^>]+>", "", t.replace("</li>", "\n")) for t in (html, changed))
    assert LINE in plain and CHANGED not in plain
    assert CHANGED in changed and LINE not in changed
    assert "bit for bit" in plain and "did not end" in changed


# --- the numbers in the page ----------------------------------------------------------------------


def unpack(entry, like=None):
    planes = np.frombuffer(zlib.decompress(base64.b64decode(entry["data"])), np.uint8)
    dtype = np.dtype(entry["kind"])
    raw = np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T).tobytes()
    if like is not None:
        raw = np.frombuffer(raw, np.uint8) ^ np.frombuffer(like.tobytes(), np.uint8)
    return np.frombuffer(bytes(raw), dtype)


def told(text, number):
    found = re.search(rf'id="step-{number}">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def test_what_is_embedded_is_the_engines_tensors_bit_for_bit(with_keras, html):
    for step in with_keras.steps:
        data = told(html, step.number)
        for name, entry in data["tensors"].items():
            ours = step.tensors[name].array
            np.testing.assert_array_equal(unpack(entry), ours.ravel(), err_msg=name)
            assert unpack(entry).dtype == ours.dtype or ours.dtype.kind in "iu"
        for name, packed in data["keras"].items():
            ours = step.tensors[name].array
            theirs = unpack({"kind": ours.dtype.name, "data": packed}, ours)
            np.testing.assert_array_equal(theirs, step.keras[name].ravel(), err_msg=name)
        left_to_the_page = set(step.tensors) - set(data["tensors"])
        assert {name.split()[0] for name in left_to_the_page} == {"m", "v", "step", "new"}


BITS = """name => {
  const values = step.tensors[name], Whole = values.BYTES_PER_ELEMENT === 8
    ? BigInt64Array : values.BYTES_PER_ELEMENT === 4 ? Int32Array : Uint8Array;
  return [...new Whole(values.buffer)].map(String).join(' ');
}"""


def in_browser(opened, name, dtype):
    whole = {"float32": np.int32, "float64": np.int64}.get(np.dtype(dtype).name, np.uint8)
    return np.array(opened.evaluate(BITS, name).split(" "), whole)


def check_bits(opened, steps):
    for step in steps:
        choose(opened, "step", step.number)
        for name, (array, _) in step.tensors.items():
            seen = in_browser(opened, name, array.dtype)
            ours = (
                array.astype(np.uint8)
                if array.dtype.kind in "iu"
                else array.ravel().view(seen.dtype)
            )
            np.testing.assert_array_equal(seen, ours.ravel(), err_msg=f"{step.number} {name}")


def test_the_page_unpacks_them_and_takes_adams_step_to_the_engines_bits(visit, with_keras, html):
    check_bits(ready(visit(html)), with_keras.steps)


def test_the_pages_adam_is_the_engines_for_numbers_of_any_size(visit, html):
    rng = np.random.default_rng(0)
    size = 2000

    def wide(positive=False):
        values = 10.0 ** rng.uniform(-38, 3, size) * rng.choice([1, 1 if positive else -1], size)
        return np.where(rng.random(size) < 0.1, 0, values).astype(np.float32)

    theta, g, m, v = wide(), wide(), wide(), wide(positive=True)
    scalars = {"one_minus_beta_1": 1 - 0.9, "one_minus_beta_2": 1 - 0.999, "epsilon": 1e-7}
    alpha = np.float32(3.1e-4)
    exact = {name: float(np.float32(value)) for name, value in scalars.items()}
    given = {"W9": theta, "dW9": g, "m before W9": m, "v before W9": v}
    seen = ready(visit(html)).evaluate(
        """([given, s]) => { const arrays = {};
        for (const name in given) arrays[name] = Float32Array.from(given[name]);
        const made = adam('W9', arrays, s);
        return ['m W9', 'v W9', 'new W9'].map(name => [...made[name]]); }""",
        [{name: a.tolist() for name, a in given.items()}, exact | {"alpha": float(alpha)}],
    )
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        reference.adam(theta, g, m, v, None, alpha, *scalars.values())
    assert np.sum(m == 0) > 20  # what is too small to matter is taken as 0
    for ours, theirs in zip((m, v, theta), seen, strict=True):
        np.testing.assert_array_equal(np.array(theirs, np.float32), ours)


def test_in_float64_too(visit, digits, tmp_path):
    told = anatomy.dissect(make_run(tmp_path, JOB, digits, "float64"), digits)
    assert told.exact and told.steps[0].tensors["dW1"].array.dtype == np.float64
    check_bits(ready(visit(page.html(told))), told.steps[::2])


def says(text, value):
    """Whether a printed number is a value to its last digit, and has five digits or is whole."""
    mantissa, _, power = text.partition("e")
    value, places = float(value), len(mantissa.partition(".")[2])
    whole = "." not in text and value == int(value)
    digits = len(mantissa.replace("-", "").replace(".", "").lstrip("0"))
    half = 0.5 * 10.0 ** (int(power or 0) - places)
    return (whole or digits == 5) and abs(float(text) - value) <= half * (1 + 1e-9)


FIGURES = """() => [...document.querySelectorAll('.tensor')].map(f => {
  const text = what => [...f.querySelectorAll(what)].map(e => e.textContent);
  return {name: f.dataset.tensor, shape: text('.shape')[0], largest: text('.largest')[0],
    place: text('.readout .place')[0], value: text('.value')[0], here: text('.window .here'),
    columns: text('.window thead th').map(Number), rows: text('.window tbody th'),
    cells: [...f.querySelectorAll('.window tbody tr')].map(
      r => [...r.querySelectorAll('td')].map(c => c.textContent)),
    keras: text('.keras .ours, .keras .theirs, .keras .worst, .keras .apart')};
})"""


def check_figures(opened, step, number_of_them):
    """Every number of every figure against the engine's tensors."""
    figures = opened.evaluate(FIGURES)
    assert len(figures) == number_of_them
    for seen in figures:
        name = seen["name"]
        array, axes = step.tensors[name]
        values = page.with_one_pixel_axis(array, axes)
        assert seen["shape"].replace(" ", "") == str(array.shape).replace(" ", ""), name
        assert says(seen["largest"], np.abs(values).max()), seen
        assert says(seen["value"], array[tuple(json.loads(seen["place"]))]), seen
        assert seen["here"] == [seen["value"]]
        table = values if values.ndim == 2 else values[None]
        for row, cells in zip(seen["rows"], seen["cells"], strict=True):
            for column, cell in zip(seen["columns"], cells, strict=True):
                assert says(cell, table[int(row or 0), column]), (name, row, column, cell)
        if name in step.keras:
            apart = np.abs(
                values.astype(np.float64) - page.with_one_pixel_axis(step.keras[name], axes)
            )
            theirs, ours, worst, most = seen["keras"]
            at = tuple(json.loads(worst))
            assert apart[at] == apart.max() and says(most, apart[at])
            assert says(ours, values[at]) and says(
                theirs, page.with_one_pixel_axis(step.keras[name], axes)[at]
            )


def test_every_printed_number_is_the_engines_at_every_step_and_after_moving(
    visit, with_keras, html
):
    opened = ready(visit(html))
    count = opened.locator(".tensor").count()
    for step in with_keras.steps:
        choose(opened, "step", step.number)
        check_figures(opened, step, count)
    choose(opened, "param", "b3")
    opened.evaluate("move('dW1', [130, 49]); move('W2', [3, 0]); move('Z3', [11, 9])")
    check_figures(opened, step, count)
    assert opened.locator("#moments .tensor").first.get_attribute("data-tensor") == "m before b3"


def test_without_javascript_the_first_step_stands_there_with_its_pictures(visit, with_keras, html):
    seen = visit(html, java_script_enabled=False)
    # evaluate works all the same: the page's own scripts are what is off
    check_figures(seen.page, with_keras.steps[0], seen.page.locator(".tensor").count())
    assert seen.page.locator(".bar").is_hidden() and seen.page.locator("noscript p").is_visible()
    assert seen.page.locator(".picture img").count() == seen.page.locator(".tensor").count()


def test_the_first_picture_is_the_one_that_the_page_draws(visit, with_keras, html):
    """Both draw from the same numbers: the PNG that Python made, and the canvas."""
    import io

    from PIL import Image

    opened = ready(visit(html))
    for name in ("dW1", "Z1", "db1", "pixels"):
        packed = re.search(rf'data-tensor="{name}".*?base64,([^"]*)"', html, re.DOTALL)[1]
        ours = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed)))).astype(int)
        theirs = opened.evaluate(
            """name => { const c = document.querySelector(`[data-tensor="${name}"] canvas`);
            const p = c.getContext('2d').getImageData(0, 0, c.width, c.height);
            return [c.height, c.width, ...p.data]; }""",
            name,
        )
        drawn = np.array(theirs[2:]).reshape(theirs[0], theirs[1], 4)
        assert drawn.shape == ours.shape
        assert np.abs(drawn[..., 3] - ours[..., 3]).max() <= 1  # halves may round either way
        seen = ours[..., 3] > 200  # a canvas premultiplies: pale colours lose bits
        assert np.all(np.abs(drawn[seen] - ours[seen]) <= 2)


def test_the_terms_of_a_weight_are_the_batchs_and_add_up_to_its_gradient(visit, with_keras, html):
    opened = ready(visit(html))
    for step in with_keras.steps:
        choose(opened, "step", step.number)
        X, dZ, dW = (step.tensors[name].array for name in ("X", "dZ1", "dW1"))
        for pixel, unit in [(100, 0), (406, 17), (500, 49), (0, 3)]:
            opened.evaluate(f"move('W1', [{pixel}, {unit}])")
            box = opened.locator("[data-tensor='dW1'] .sum")
            rows = box.locator("tbody tr").all_inner_texts()
            terms = X[:, pixel].astype(np.float64) * dZ[:, unit]
            assert len(rows) == np.count_nonzero(terms)
            for row, image in zip(rows, np.flatnonzero(terms), strict=True):
                first, x, dz, product = row.split("\t")[:4]
                assert first == f"{image}: a {step.tensors['y'].array[image]}"
                assert says(x, X[image, pixel]) and says(dz, dZ[image, unit])
                assert says(product, terms[image])
            total = box.locator(".total").inner_text()
            numbers = re.findall(r"-?[\d.]+(?:e[-+]\d+)?", total.replace("dW1", ""))
            assert says(numbers[0], terms.sum()) and says(numbers[1], dW[pixel, unit])
            assert "as rounding allows" in total


def test_a_sum_that_is_not_the_tensor_is_called_so(visit, html):
    opened = ready(visit(html))
    opened.evaluate("step.tensors['dW1'].forEach((x, i, all) => { all[i] = x + 1e-3; }); follow()")
    total = opened.locator("[data-tensor='dW1'] .total").inner_text()
    assert "more than rounding allows" in total


# --- in the browser -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_opens_without_a_network_and_everyone_can_read_and_use_it(visit, html, width, scheme):
    seen = visit(html, width, scheme)
    ready(seen)
    assert seen.faults() == {}


def test_keys_move_one_cursor_through_every_picture(visit, with_keras, html):
    opened = ready(visit(html))
    start = opened.evaluate("({...cursor})")
    opened.locator("[data-tensor='Z1'] .picture").focus()
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowUp")
    moved = opened.evaluate("({...cursor})")
    assert moved == start | {"unit1": start["unit1"] + 1, "image": start["image"] - 1}
    place = opened.locator("[data-tensor='dW1'] .readout .place").inner_text()
    assert place == f"[{moved['pixel']}, {moved['unit1']}]"
    assert f"image {moved['image']}, a" in opened.locator(".path").inner_text()
    # over the gap between two tiles: the last column of unit 0 leads to the first of unit 1
    opened.evaluate("move('W1', [grid[1] - 1, 0])")
    opened.locator("[data-tensor='W1'] .picture").focus()
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("[cursor.pixel, cursor.unit1]") == [0, 1]
    opened.keyboard.press("ArrowUp")
    assert opened.evaluate("[cursor.pixel, cursor.unit1]") == [0, 1]  # the edge


def test_a_mouse_peeks_and_a_click_stays(visit, html):
    opened = ready(visit(html))
    picture = opened.locator("[data-tensor='dW2'] .picture")
    picture.scroll_into_view_if_needed()
    place = opened.locator("[data-tensor='dW2'] .readout .place")
    before, box = place.inner_text(), picture.bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.25)
    assert place.inner_text() == "[12, 25]" != before
    other = opened.locator("[data-tensor='W2'] .readout .place")
    assert other.inner_text() == before
    opened.mouse.move(5, 5)
    assert place.inner_text() == before
    picture.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.25})
    assert other.inner_text() == "[12, 25]"


def test_the_step_that_was_chosen_last_is_shown_however_long_another_takes(visit, html):
    opened = ready(visit(html))
    opened.evaluate("""async () => {
      const pick = n => { const e = document.querySelector(`[name=step][value="${n}"]`);
        e.checked = true; e.dispatchEvent(new Event('change')); };
      pick(20); pick(1); await load(20); await new Promise(done => setTimeout(done)); }""")
    assert opened.evaluate("[document.body.dataset.shown, step.number]") == ["1", 1]


def test_words_and_the_table_of_the_head_change_with_step_and_image(visit, with_keras, html):
    opened = ready(visit(html))
    for step in with_keras.steps[1:]:
        choose(opened, "step", step.number)
        for key, text in page.facts(step, with_keras).items():
            for one in opened.locator(f"[data-fact='{key}']").all_inner_texts():
                assert one == text
        opened.evaluate("move('Z3', [2, 5])")
        rows = opened.locator(".head tbody tr").all_inner_texts()
        columns = [step.tensors[name].array[2] for name in page.head_columns(3)]
        for k, row in enumerate(rows):
            cells = row.split("\t")[1:]
            assert all(says(c, v[k]) for c, v in zip(cells, columns, strict=True))
        m, v = (step.tensors[f"{x} W1"].array for x in "mv")
        at = tuple(opened.evaluate("here('W1')"))
        hats = page.hats(float(m[at]), float(v[at]), step.scalars)
        assert opened.locator(".hat-ratio").inner_text() == hats["ratio"]
    choose(opened, "step", 1)
    opened.evaluate("move('W1', shared.cursor.pixel && [shared.cursor.pixel, shared.cursor.unit1])")
    assert abs(abs(float(opened.locator(".hat-ratio").inner_text())) - 1) < 1e-4


def test_the_five_questions_are_answered_on_the_page(visit, found, html):
    opened = ready(visit(html))
    asked = opened.locator("#questions dt").all_inner_texts()
    answers = opened.locator("#questions dd").all_inner_texts()
    assert [re.search("dW1|1/B|sigmoid|ReLU|Adam", text)[0] for text in asked] == [
        "dW1", "1/B", "sigmoid", "ReLU", "Adam"]  # fmt: skip
    assert str(found.steps[0].tensors["dW1"].array.shape) in answers[0]
    assert "0.031250" in opened.locator("[data-tensor='share']").inner_text()  # 1/32
    assert page.facts(found.steps[0], found)["dead1"] in answers[3]
    for link in opened.locator("#questions a, .stages a").all():
        assert opened.locator(link.get_attribute("href")).count() == 1


# --- size, and the command ------------------------------------------------------------------------


def test_steps_are_left_out_and_named_where_the_page_would_grow_too_large(found, html, monkeypatch):
    monkeypatch.setattr(page, "LIMIT", len(page.html(found)) - 1)
    smaller = page.html(found)
    assert len(smaller.encode()) <= page.LIMIT
    assert "Left out, to keep the page below 5 MB: step 10." in smaller
    assert [int(n) for n in re.findall(r'id="step-(\d+)"', smaller)] == [1, 20]
    assert "Left out" not in html and "did not end" not in html
    monkeypatch.setattr(page, "LIMIT", 1)
    assert re.findall(r'id="step-(\d+)"', page.html(found)) == ["1"]


def test_the_page_of_mnist_is_below_5_mb_with_all_its_steps(mnist, tmp_path):
    x, y, x_test, y_test = mnist
    data = (x, y), (x_test[:1000], y_test[:1000])
    told = anatomy.dissect(make_run(tmp_path, run_training.RunSettings(epochs=1), data), data)
    assert told.exact and [step.number for step in told.steps] == [1, 10, 1000, 1875]
    text = page.html(told)
    assert len(text.encode()) < 5_000_000 and "Left out" not in text


def test_the_command_writes_the_page_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    np.savez("d.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    made = ["--engine", "reference", "--limit", "100", "--epochs", "1", "--out", "r"]
    assert CliRunner().invoke(cli.app, ["train", "--data", "d.npz", *made]).exit_code == 0
    done = CliRunner().invoke(cli.app, ["explain", "r", "--no-keras"])
    assert done.exit_code == 0 and "explain.html" in done.stderr, done.output
    text = Path("explain.html").read_text()
    assert "bit for bit" in text and "scratchnet explain r --no-keras" in text
    again = CliRunner().invoke(cli.app, ["explain", "r", "--no-keras", "--out", "b.html"])
    assert again.exit_code == 0
    assert Path("b.html").read_text().replace(" --out b.html", "") == text
    Path("explain.html").unlink()
    for wrong, why in [
        (["--image", "100"], "image 100: expected one of the 100 test images"),
        (["--image", "3", "--batch"], "--batch with --image 3"),
    ]:
        refused = CliRunner().invoke(cli.app, ["explain", "r", "--no-keras", *wrong])
        assert refused.exit_code == 2 and why in refused.stderr
        assert not Path("explain.html").exists()
