"""The drawing page against Python, in a real browser without a network.

Its JavaScript computes in float32 and sums in double, Python sums in float32 too: what they may
differ by is float32's rounding, 6e-8, times the sizes that are summed.
"""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image
from results import a_result
from typer.testing import CliRunner

from scratchnet import config, datasets
from scratchnet.activations import NAMES
from scratchnet.app import cli, images, run_folder, run_training
from scratchnet.app.pages import drawing_page
from scratchnet.checks import Examples
from scratchnet.engines import reference
from scratchnet.layers import Dense, Flatten, Input, Layer, Rescaling
from scratchnet.losses import SparseCategoricalCrossentropy
from scratchnet.objective import Objective
from scratchnet.optimizers import SGD, Adam
from scratchnet.sequential import Sequential
from scratchnet.testing.variants import KINDS, moderate

pytest_plugins = ["browser"]

SPARSE = "sparse_categorical_crossentropy"


def written(path, model, **result):
    """A run of this model."""
    with run_folder.RunFolder(path, "train") as folder:
        folder.save_model(model)
        folder.save_result(a_result(**result))
    return run_folder.read_run(path)


def an_epoch(mnist, path, scaled):
    """The well-known network after an epoch of MNIST."""
    x, y, x_test, y_test = mnist
    model = run_training.build_model(
        run_training.RunSettings(epochs=1, scaled=scaled), ((x, y), (x_test, y_test))
    )
    model.fit(x, y, verbose=0)
    return written(path / "run", model, settings={"epochs": 1}, data={"name": "MNIST"})


@pytest.fixture(scope="module")
def run(mnist, tmp_path_factory):
    return an_epoch(mnist, tmp_path_factory.mktemp("scaled"), scaled=True)


@pytest.fixture(scope="module")
def unscaled(mnist, tmp_path_factory):
    return an_epoch(mnist, tmp_path_factory.mktemp("unscaled"), scaled=False)


def decode(page, expression, dtype=np.float32):
    """A typed array of the page, bit by bit."""
    text = page.evaluate(
        "array => { let s = ''; const bytes = new Uint8Array(array.buffer, array.byteOffset, "
        "array.byteLength); for (const b of bytes) s += String.fromCharCode(b); return btoa(s); }",
        page.evaluate_handle(expression),
    )
    return np.frombuffer(base64.b64decode(text), dtype)


def logits_and_outputs(page, x):
    """What the page's network makes of images (N, ...), float32 (N, K) each."""
    pixels = base64.b64encode(np.ascontiguousarray(x, "<f4").tobytes()).decode()
    page.evaluate(
        """([pixels, count]) => {
          const all = floats(pixels), size = all.length / count;
          window.answers = new Float32Array(count * 20);
          for (let i = 0; i < count; i++) {
            const head = network.forward(all.subarray(i * size, (i + 1) * size)).at(-1);
            answers.set(head.z, 20 * i);
            answers.set(head.a, 20 * i + 10);
          }
        }""",
        [pixels, len(x)],
    )
    answers = decode(page, "answers").reshape(len(x), 2, 10)
    return answers[:, 0], answers[:, 1]


def python_step(model, x, label):
    """One training step on one image by the reference engine; the gradient before it."""
    model.engine = reference.ENGINE
    model.objective = Objective(model.loss, model.layers[-1].activation)
    model.train_step(Examples(x[None], np.array([label]), None))
    return model.grad


# --- MNIST ---------------------------------------------------------------------------------------


def test_a_thousand_mnist_images_get_the_answers_that_python_gives(run, mnist, visit):
    model, x = run.model(), mnist[2][:1000]
    Z, A = logits_and_outputs(visit(drawing_page.html(run)).page, x)
    np.testing.assert_allclose(Z, model.run(x)[-1].Z, rtol=0, atol=1e-4)
    assert (A.argmax(axis=1) == model.predict(x, verbose=0).argmax(axis=1)).sum() == 1000


def test_sigmoids_that_tie_in_python_tie_on_the_page(unscaled, mnist, visit):
    """An answer may differ only where rounding a logit moves a sigmoid by its last bit."""
    model, x = unscaled.model(), mnist[2][:1000]
    Z, A = logits_and_outputs(visit(drawing_page.html(unscaled)).page, x)
    expected = model.predict(x, verbose=0)
    assert ((expected == 1).sum(axis=1) > 1).sum() > 10
    np.testing.assert_allclose(Z, model.run(x)[-1].Z, rtol=0, atol=2e-6 * abs(Z).max())
    answers = A.argmax(axis=1)
    chosen = expected[np.arange(1000), answers]
    assert (chosen >= expected.max(axis=1) - 2**-23).all()
    assert (answers == expected.argmax(axis=1)).sum() >= 995


def test_a_prediction_takes_less_than_ten_milliseconds_and_the_page_less_than_a_megabyte(
    run, visit
):
    html = drawing_page.html(run)
    assert len(html.encode()) < 1e6
    times = visit(html).page.evaluate(
        """() => Array.from({length: 101}, () => {
          const start = performance.now();
          network.forward(state.x);
          return performance.now() - start;
        })"""
    )
    assert np.median(times) < 10


def points(page, digit):
    """An example's strokes as places on the screen."""
    box = page.locator("#pad").bounding_box()
    strokes = page.evaluate(f"EXAMPLES[{digit}]")
    return [
        [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in s] for s in strokes
    ]


def draw_by_mouse(page, digit):
    for stroke in points(page, digit):
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for place in stroke[1:]:
            page.mouse.move(*place, steps=3)
        page.mouse.up()
    settled(page)


def settled(page):
    """The frame in which the page has looked at what is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def test_digits_drawn_by_mouse_are_read(run, visit):
    seen = visit(drawing_page.html(run))
    page = seen.page
    read = {}
    for digit in range(10):
        draw_by_mouse(page, digit)
        read[digit] = page.locator("#reading").inner_text()
        page.locator("#clear").click()
        settled(page)
        assert page.locator("#reading").inner_text() == "The pad is empty."
    assert sum(f"{digit}, at" in text for digit, text in read.items()) >= 9, read
    assert seen.errors == []


def test_a_step_taken_on_the_page_is_the_step_that_python_takes(run, visit):
    page = visit(drawing_page.html(run)).page
    draw_by_mouse(page, 3)
    before = decode(page, "network.theta")
    x = decode(page, "state.x").reshape(28, 28)
    page.locator("#labels button").nth(5).click()
    grad, theta = decode(page, "state.lesson.grad"), decode(page, "network.theta")
    model = run.model()
    np.testing.assert_array_equal(before, model.theta)
    expected = python_step(model, x, 5)
    np.testing.assert_allclose(grad, expected, rtol=0, atol=1e-6 * abs(expected).max())
    np.testing.assert_allclose(theta, model.theta, rtol=0, atol=1e-6)
    assert abs(theta - before).max() > 1e-3  # a step was taken
    assert page.evaluate("network.iterations") == model.optimizer.iterations
    page.locator("#undo-step").click()
    np.testing.assert_array_equal(decode(page, "network.theta"), before)
    np.testing.assert_array_equal(
        decode(page, "network.slots.momentum"), run.model().optimizer.slots["momentum"]
    )


# --- any stack of the core's layers --------------------------------------------------------------


def stack(*layers, shape=(28, 28), seed=0):
    return Sequential([Input(shape), *layers], seed=seed)


def usual():
    model = stack(Rescaling(1 / 255), Flatten(), Dense(50, "relu"), Dense(10, "sigmoid"))
    model.compile("adam", SPARSE)
    return model


def deep():
    hidden = [Dense(20, "tanh"), Dense(30, "relu", use_bias=False), Dense(16, "sigmoid")]
    model = stack(Flatten(), Rescaling(1 / 127.5, -1.0), *hidden, Dense(10, "softmax"))
    model.compile(SGD(0.05, momentum=0.9, nesterov=True), SPARSE)
    return model


def amsgrad():
    model = stack(Rescaling(1 / 255), Flatten(), Dense(40, "relu"), Dense(10, "softmax"))
    model.compile(Adam(0.002, beta_1=0.8, amsgrad=True), SPARSE)
    return model


def small():
    model = stack(
        Flatten(), Rescaling(1 / 255), Dense(12, "linear"), Dense(10), shape=(8, 8, 1), seed=3
    )
    model.compile(SGD(0.1, momentum=0.5), SparseCategoricalCrossentropy(from_logits=True))
    return model


def sigmoids_as_logits():
    model = stack(Rescaling(1 / 255), Flatten(), Dense(10, "sigmoid"))
    model.compile(SGD(0.1), SparseCategoricalCrossentropy(sigmoid_head="as_logits"))
    return model


def softmax_below():
    model = stack(Rescaling(1 / 255), Flatten(), Dense(15, "softmax"), Dense(10, "tanh"))
    model.compile("adam", SparseCategoricalCrossentropy(from_logits=True))
    return model


def in_float64():
    config.set_floatx("float64")
    return usual()


def fitting(model):
    """Images and labels of the bundled digits for this model."""
    (x, y), _ = datasets.digits.load_data()
    if model.input_shape[1:] == (8, 8, 1):
        x = x[:, 4:24, 4:24].reshape(-1, 20, 20)[:, ::3, ::3].repeat(2, 1)[:, :8].repeat(2, 2)
        x = x[:, :, :8, None]
    return x, y


def every_activation():
    hidden = [Dense(12, name) for name in NAMES]
    model = stack(Rescaling(1 / 255), Flatten(), *hidden, Dense(10, "softmax"))
    model.compile("adam", SPARSE)
    return model


def stepped_by(name, everything):
    """A registered optimizer at its defaults, or with all of its arguments elsewhere."""
    options = moderate(KINDS[name]) if everything else {}

    def stepped():
        model = stack(Rescaling(1 / 255), Flatten(), Dense(20, "relu"), Dense(10, "softmax"))
        model.compile(KINDS[name](**options), SPARSE)
        return model

    stepped.__name__ = f"{name}, {'all' if everything else 'as it is'}"
    return stepped


STACKS = [usual, deep, amsgrad, small, sigmoids_as_logits, softmax_below, in_float64]
STACKS += [every_activation, *(stepped_by(name, all_) for name in KINDS for all_ in (False, True))]


@pytest.fixture
def trained(request, tmp_path):
    """A run of one of STACKS, some steps into its training, and its images and labels."""
    model = request.param()
    x, y = fitting(model)
    model.fit(x[:640], y[:640], batch_size=32, epochs=2, verbose=0)
    return written(tmp_path / "run", model), x, y


@pytest.mark.parametrize("trained", STACKS, indirect=True)
def test_any_stack_answers_and_learns_as_in_python(trained, visit):
    run, x, y = trained
    model, page = run.model(), visit(drawing_page.html(run)).page
    Z, A = logits_and_outputs(page, x[-50:])
    head = model.run(x[-50:])[-1]
    np.testing.assert_allclose(Z, head.Z, rtol=0, atol=2e-6 * max(1, abs(Z).max()))
    np.testing.assert_allclose(A, head.A, rtol=0, atol=2e-6 * max(1, abs(A).max()))
    for image, label in zip(x[:3].astype(np.float32), y[:3] + np.array([1, 0, 2]), strict=True):
        pixels = image.ravel().tolist()
        page.evaluate(
            "([x, label]) => { window.g = network.gradient(Float32Array.from(x), label).grad; "
            "network.step(g); }",
            [pixels, int(label) % 10],
        )
        expected = python_step(model, image, int(label) % 10)
        scale = abs(expected).max()
        np.testing.assert_allclose(decode(page, "g"), expected, rtol=0, atol=5e-6 * scale)
        np.testing.assert_allclose(decode(page, "network.theta"), model.theta, rtol=0, atol=2e-6)
    for name, slot in model.optimizer.slots.items():
        np.testing.assert_allclose(
            decode(page, f"network.slots.{name}"), slot, rtol=0, atol=1e-5 * abs(slot).max()
        )


@pytest.mark.parametrize("trained", STACKS, indirect=True)
def test_the_pixels_gradient_is_the_logits_derivative(trained, visit):
    run, x, _ = trained
    model, page = run.model(), visit(drawing_page.html(run)).page
    image = x[7]
    page.evaluate(
        "x => { const pixels = Float32Array.from(x); "
        "window.slope = network.pixelGradient(network.forward(pixels), 4); }",
        image.astype(float).ravel().tolist(),
    )
    steps = np.eye(image.size).reshape(-1, *image.shape) * 1e-30j
    params = model.views(model.theta.astype(complex))
    derivative = model.forward(image + steps, params, reference.ENGINE)[-1].Z[:, 4].imag / 1e-30
    slope = decode(page, "slope")
    np.testing.assert_allclose(slope, derivative, rtol=0, atol=5e-6 * abs(derivative).max())


@pytest.mark.parametrize("trained", [usual, small, in_float64, deep], indirect=True)
def test_what_pixels_and_biases_give_adds_up_to_the_logit(trained, visit):
    """Where every activation is piecewise linear; else the page says what the rest is."""
    run, _, _ = trained
    page = visit(drawing_page.html(run)).page
    text = page.locator("#sum").inner_text().replace("\N{MINUS SIGN}", "-")
    words = text.replace(",", " ").replace(":", " ").split()
    pixels, rest, logit = (float(w.rstrip(".")) for w in words if "." in w[1:-1])
    assert pixels + rest == pytest.approx(logit, abs=0.0151)  # each is printed to 0.01
    model = run.model()
    if model.layers[2].activation == "tanh":
        assert "biases and curvature" in text
        return
    x = decode(page, "state.x").reshape(model.input_shape[1:])
    biasless = run.model()
    for layer in biasless.layers:
        if isinstance(layer, Dense):
            layer.params["bias"][...] = 0
    digit = int(text.split("logit of ")[1].split()[0])
    # With the same units lit, the network without its biases gives what the pixels give.
    lit = [stage.Z > 0 for stage in model.run(x[None])]
    A = x[None].astype(np.float64)
    for layer, on in zip(biasless.layers, lit, strict=True):
        A, _ = layer.forward(A, layer.params, reference.ENGINE)
        A = A * on if layer.activation == "relu" else A
    assert A[0, digit] == pytest.approx(pixels, abs=0.0051)


# --- from strokes to an image --------------------------------------------------------------------


@pytest.fixture
def blank(tmp_path, visit):
    return visit(drawing_page.html(written(tmp_path / "run", usual()))).page


def python_image(ink):
    """Ink as `images` brings it to MNIST's form, from the cut on."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return images._placed(cut / 255)


def test_strokes_are_centred_as_photos_are(blank):
    rng = np.random.default_rng(0)
    drawings = [blank.evaluate(f"EXAMPLES[{k}]") for k in range(10)]
    for _ in range(30):
        start, spread = rng.uniform(0.1, 0.9, 2), rng.uniform(0.02, 0.4)
        strokes = np.clip(start + spread * rng.normal(size=(rng.integers(1, 4), 5, 2)), 0, 1)
        drawings.append(strokes.tolist())
    for strokes in drawings:
        # From full to faint ink: the darkest pixel becomes 255 in any case.
        faint = rng.uniform(0.2, 1)
        blank.evaluate(
            "([all, faint]) => { window.ink = inkOf(all).map(v => Math.round(v * faint)); }",
            [strokes, faint],
        )
        ink = decode(blank, "ink").reshape(280, 280)
        image = decode(blank, "centred(ink, PAD, 28)").reshape(28, 28)
        expected = python_image(ink)
        assert expected.max() == 255
        assert abs(image - expected).max() <= 1, strokes  # float32 in one, double in the other


def test_halves_are_rounded_as_in_python(blank):
    values = [-1.5, -0.5, 0.5, 0.6, 1.5, 2.5, 3.5, 7.4]
    assert blank.evaluate("values => values.map(rounded)", values) == list(map(round, values))


def test_the_pen_is_as_wide_as_mnists_on_any_part_of_the_pad(blank):
    """The median of MNIST's own strokes is 2.6 pixels, 90 % are within images.STROKE."""
    for size in (0.2, 0.5, 0.9):
        strokes = [[[0.05, 0.05], [0.05, 0.05 + size], [0.05 + size / 2, 0.05 + size]]]
        blank.evaluate("strokes => { window.ink = inkOf(strokes); }", strokes)
        image = decode(blank, "centred(ink, PAD, 28)").reshape(28, 28)
        width = np.median(image[8:20].sum(axis=1)) / 255
        assert width == pytest.approx(2.6, abs=0.3)
        assert images.STROKE[0] < width < images.STROKE[1]


def test_a_drawing_is_read_like_its_photo(run, visit):
    """By the whole of `images.to_mnist`, which knows no strokes; a pixel's shift is rounding's."""
    page, model = visit(drawing_page.html(run)).page, run.model()
    for digit in range(10):
        page.evaluate(f"() => {{ window.ink = inkOf(EXAMPLES[{digit}]); }}")
        drawn = decode(page, "centred(ink, PAD, 28)").reshape(28, 28)
        photo = 255 - decode(page, "ink").reshape(280, 280).astype(np.uint8)
        read, _ = images.to_mnist(Image.fromarray(photo))
        shifts = [np.roll(read, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        assert max(np.corrcoef(drawn.ravel(), near.ravel())[0, 1] for near in shifts) > 0.9
        answers = model.predict(np.stack([drawn, read]), verbose=0).argmax(axis=1)
        assert answers[0] == answers[1]


def test_an_empty_pad_and_a_dot_are_no_trouble(blank):
    assert not decode(blank, "centred(new Float32Array(PAD * PAD), PAD, 28)").any()
    blank.locator("#clear").click()
    blank.locator("#pad").click()
    settled(blank)
    assert decode(blank, "state.x").max() == 255


def test_a_dot_is_a_disc_whatever_a_browser_makes_of_a_line_without_length(blank):
    """Some give a stroke of length 0 no round ends; so no dot may be left to `stroke`."""
    inked = blank.evaluate("""() => {
        const stroke = CanvasRenderingContext2D.prototype.stroke;
        CanvasRenderingContext2D.prototype.stroke = () => {};
        const dots = [[[0.5, 0.5]], [[0.2, 0.2], [0.2, 0.2]]];
        const counts = dots.map((dot) => inkOf([dot]).filter((v) => v > 127).length);
        CanvasRenderingContext2D.prototype.stroke = stroke;
        return counts;
    }""")
    radius = 0.085 / 4 * 280 / 2
    # Pixels that are covered by more than half: as many as its area, but for a ring of them.
    assert inked == pytest.approx([np.pi * radius**2] * 2, abs=2 * np.pi * radius / 2)


def test_an_example_never_destroys_a_drawing(tmp_path, visit):
    page = visit(drawing_page.html(written(tmp_path / "run", usual()))).page
    page.locator("#clear").click()
    page.locator("#pad").click()
    settled(page)
    own = page.evaluate("state.strokes")
    for k in (3, 5):  # a second one doesn't make the first one's strokes mine
        page.locator(f"#examples button >> nth={k}").click()
    settled(page)
    assert page.locator("#undo-stroke").text_content() == "Back to mine"
    page.locator("#undo-stroke").click()
    settled(page)
    assert page.evaluate("state.strokes") == own and len(own) == 1


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_the_optimizers_line_is_not_clipped(tmp_path, visit, width):
    model = usual()
    model.optimizer.iterations = 18_750
    page = visit(drawing_page.html(written(tmp_path / "run", model)), width).page
    needed, given = page.evaluate("""() => {
        const select = $("optimizer"), style = getComputedStyle(select);
        const context = document.createElement("canvas").getContext("2d");
        context.font = style.font;
        const texts = [...select.options].map((o) => context.measureText(o.textContent).width);
        const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
        const inside = select.clientWidth - padding;
        return [Math.max(...texts), inside];
    }""")
    assert needed < given


# --- the page in use -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_is_whole_legible_and_reachable(tmp_path, visit, width, scheme):
    model = usual()
    model.optimizer.iterations = 18_750  # words as long as a real run's
    seen = visit(drawing_page.html(written(tmp_path / "run", model)), width, scheme)
    seen.page.locator("#labels button").first.click()
    seen.page.locator("#layer-0 button").first.click()
    assert seen.page.locator("#gradients canvas").count() == 4
    assert seen.faults() == {}


def test_a_finger_draws_and_the_page_stays_where_it_is(tmp_path, visit):
    seen = visit(drawing_page.html(written(tmp_path / "run", usual())), 375, has_touch=True)
    page = seen.page
    page.locator("#pad").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    (stroke,) = points(page, 7)
    session = page.context.new_cdp_session(page)
    for i, (x, y) in enumerate(stroke):
        kind = "touchStart" if i == 0 else "touchMove"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settled(page)
    drawn = page.evaluate("state.strokes")
    assert page.evaluate("state.example") is False
    assert len(drawn) == 1 and len(drawn[0]) >= len(stroke)
    np.testing.assert_allclose(drawn[0][-1], page.evaluate("EXAMPLES[7][0].at(-1)"), atol=0.01)
    assert page.evaluate("scrollY") == before


def test_a_stroke_that_leaves_the_pad_ends_where_the_button_is_let_go(blank):
    box = blank.locator("#pad").bounding_box()
    left, middle = box["x"], box["y"] + box["height"] / 2
    blank.mouse.move(left + 50, middle)
    blank.mouse.down()
    blank.mouse.move(left - 30, middle)
    blank.mouse.up()
    blank.mouse.move(left + 90, middle)
    settled(blank)
    (stroke,) = blank.evaluate("state.strokes")
    assert stroke[-1][0] == pytest.approx(-30 / box["width"], abs=0.01)


def test_clearing_or_an_example_in_the_midst_of_a_stroke_is_no_trouble(tmp_path, visit):
    seen = visit(drawing_page.html(written(tmp_path / "run", usual())))
    page = seen.page
    (stroke,) = points(page, 7)
    for click, strokes in (("#clear", []), ("#examples button >> nth=1", "EXAMPLES[1]")):
        page.mouse.move(*stroke[0])
        page.mouse.down()
        page.locator(click).dispatch_event("click")
        page.mouse.move(*stroke[1])
        page.mouse.up()
        settled(page)
        expected = page.evaluate(strokes) if strokes else []
        assert page.evaluate("state.strokes") == expected
    assert page.evaluate("EXAMPLES[1][0].length") == 2
    assert seen.errors == []


def test_the_keyboard_draws_too(blank):
    blank.locator("#pad").focus()
    for key in ["ArrowUp"] * 7 + ["Space"] + ["ArrowDown"] * 14 + ["Space", "ArrowLeft"]:
        blank.keyboard.press(key)
    settled(blank)
    image = decode(blank, "state.x").reshape(28, 28)
    assert image[8:20, 13:16].min() > 150  # a 1 that is 2.6 wide, in the middle of three
    assert not image[:, :11].any() and not image[:, 17:].any()
    blank.keyboard.press("Delete")
    settled(blank)
    assert blank.locator("#reading").inner_text() == "The pad is empty."


def test_arrow_keys_move_among_the_units_and_the_answers(blank):
    blank.locator("#layer-0 button").first.focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        blank.keyboard.press(key)
    assert "unit 11:" in blank.locator("#unit-note").inner_text()
    chosen = blank.locator("#answers input:checked")
    chosen.focus()
    before = blank.locator(".which").first.inner_text()
    blank.keyboard.press("ArrowDown")
    after = blank.locator(".which").first.inner_text()
    assert int(after) == (int(before) + 1) % 10
    assert f"the logit of {after} " in blank.locator("#sum").inner_text()


def test_plain_descent_lowers_the_loss_by_what_a_straight_line_says(blank):
    blank.locator("#optimizer").select_option(index=3)
    blank.locator("#labels button").nth(4).click()
    lesson = blank.evaluate(
        "(({loss, lossAfter, expected}) => [loss, lossAfter, expected])(state.lesson)"
    )
    loss, after, expected = lesson
    grad = decode(blank, "state.lesson.grad").astype(np.float64)
    assert expected == pytest.approx(-0.001 * grad @ grad, rel=1e-3)
    assert after - loss == pytest.approx(expected, rel=0.2)
    said = blank.locator("#first-order").inner_text()
    assert said.startswith("SGD, rate 0.001.")
    blank.locator("#labels button").nth(4).click()
    blank.locator("#restore").click()
    assert blank.evaluate("state.taken.length") == 0
    np.testing.assert_array_equal(
        decode(blank, "network.theta"), decode(blank, "floats(RUN.theta)")
    )


def test_equal_outputs_are_said_to_be_so(tmp_path, visit):
    model = stack(Flatten(), Dense(10, "sigmoid"))
    model.compile("adam", SPARSE)
    kernel, bias = model.layers[-1].weights
    kernel[...] = 0
    bias[...] = [0, 0, 0, 18, 0, 0, 0, 20, 0, 0]
    page = visit(drawing_page.html(written(tmp_path / "run", model))).page
    assert page.locator("#reading").inner_text().startswith("It reads a 3")
    assert "the outputs of 3, 7 are the same, 1" in page.locator("#head-note").inner_text()


def test_the_code_that_is_shown_is_the_code_that_runs(blank):
    from scratchnet.app import pages

    assert blank.locator("#source").text_content() == pages.read_template("network.js").strip()


# --- the command, and what it refuses ------------------------------------------------------------


class Doubled(Layer):
    def forward(self, X, params, engine):
        return 2 * X, None

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        return 2 * dZ


def refused(*layers, shape=(28, 28), loss=SPARSE):
    model = stack(*layers, shape=shape)
    model.compile("adam", loss)
    with pytest.raises(drawing_page.DrawError) as error:
        drawing_page.network_as_data(model)
    message = str(error.value)
    assert "\n" not in message and message.startswith("draw can't show this model: ")
    return message


def test_what_it_cannot_show_is_refused_in_one_line():
    assert "(28, 14)" in refused(Flatten(), Dense(10), shape=(28, 14))
    assert "(784,)" in refused(Dense(10), shape=(784,))
    assert "(28, 28, 3)" in refused(Flatten(), Dense(10), shape=(28, 28, 3))
    assert "(3, 3)" in refused(Flatten(), Dense(10), shape=(3, 3))
    assert "'elu'. Expected only linear, relu" in refused(Flatten(), Dense(4, "elu"), Dense(10))
    assert "Dense of shape (7,)" in refused(Flatten(), Dense(7))
    assert "a Rescaling" in refused(Flatten(), Dense(10), Rescaling(2.0))
    assert "'doubled' is a Doubled" in refused(Doubled(), Flatten(), Dense(10))
    assert "categorical_crossentropy" in refused(
        Flatten(), Dense(10, "softmax"), loss="categorical_crossentropy"
    )
    assert "mean_squared_error" in refused(Flatten(), Dense(10), loss="mse")
    assert "tanh head" in refused(Flatten(), Dense(10, "tanh"))


def test_the_command_writes_the_page_and_says_where(tmp_path):
    written(tmp_path / "run", usual())
    out = tmp_path / "page.html"
    done = CliRunner().invoke(cli.app, ["draw", str(tmp_path / "run"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "page.html" in done.stderr
    html = out.read_text()
    assert "Rescaling, Flatten, Dense 50 relu, Dense 10 sigmoid: 39,760 parameters, trained" in html
    assert f"scratchnet draw {tmp_path / 'run'} --out {out}" in html
    failed = CliRunner().invoke(cli.app, ["draw", str(tmp_path / "none"), "--out", str(out)])
    assert failed.exit_code == 2 and failed.stderr.count("\n") == 1
    assert out.read_text() == html


def test_the_same_run_makes_the_same_page(tmp_path):
    run = written(tmp_path / "run", usual())
    assert drawing_page.html(run) == drawing_page.html(run_folder.read_run(tmp_path / "run"))
