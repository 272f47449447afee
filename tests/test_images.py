"""People's photos: what comes in as a file, what comes out as MNIST would have it, what is doubted.

The score at the end is of photos that nothing was tuned on; `photos.py` says how they are made.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import photos
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageDraw
from scipy import ndimage

from scratchnet import datasets
from scratchnet.app import images, run_training


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def seen(path: Path) -> np.ndarray:
    return images.to_mnist(images.read(path))[0]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of a pixel, as a share of the mean ink."""
    return float(np.abs(one.astype(int) - other).mean() / other.mean())


ONE_FINE_PIXEL = 0.14
"""The `difference` where a digit moves by 1/8 pixel, as it may when its contour does by 0.05: the
two edges of a stroke that is 2.5 wide each get 0.175 pixels of ink or lose them."""


# --- files ----------------------------------------------------------------------------------------


def header_of_a_png(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds ten bytes of it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10)))


def bytes_of(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


FIVE = photos.pencilled(5)
BROKEN = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"hello, I am a text\n", "is no picture"),
    "bomb.png": (header_of_a_png(20_000, 20_000), "more than the 50 million"),
    "pillow-would-warn.png": (header_of_a_png(10_000, 10_000), "has 10,000 x 10,000 pixels"),
    "below-pillows-limit.png": (header_of_a_png(8_000, 8_000), "has 8,000 x 8,000 pixels, more"),
    "announced.png": (header_of_a_png(100, 100), "is damaged"),
    "truncated.png": (bytes_of(FIVE, "PNG")[:700], "is damaged"),
    "truncated.jpg": (bytes_of(FIVE, "JPEG")[:900], "is damaged"),
    "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_one_line_with_its_path_and_a_remedy(tmp_path, name):
    content, words = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(images.ImageError) as caught:
            images.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and words in message and "\n" not in message
    assert (caught.value.path, caught.value.remedy in message) == (str(path), True)


def test_a_path_that_is_missing_or_a_folder_says_so(tmp_path):
    with pytest.raises(images.ImageError, match="does not exist"):
        images.read(tmp_path / "nowhere.png")
    with pytest.raises(images.ImageError, match="is a folder"):
        images.read(tmp_path)


@given(
    at=st.integers(0, 10**9),
    byte=st.integers(0, 255),
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF"]),
)
def test_a_byte_gone_wrong_gives_a_picture_or_the_one_error(tmp_path_factory, at, byte, kind):
    content = bytearray(bytes_of(photos.pencilled(5, (60, 80), 4), kind))
    content[at % len(content)] = byte
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes(content)
    try:
        digit, _ = images.to_mnist(images.read(path))
    except images.ImageError:
        return
    assert digit.shape == (28, 28)


def sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


MODES = {
    "L.png": lambda image: image,
    "1.png": lambda image: image.convert("1", dither=Image.Dither.NONE),
    "P.gif": lambda image: image.convert("P"),
    "RGB.jpg": lambda image: image.convert("RGB"),
    "CMYK.jpg": lambda image: image.convert("CMYK"),
    "CMYK.tif": lambda image: image.convert("CMYK"),
    "YCbCr.jpg": lambda image: image.convert("YCbCr"),
    "LA.png": lambda image: image.convert("LA"),
    "RGBA.webp": lambda image: image.convert("RGBA"),
    "I16.png": sixteen_bits,
    "twelve bits.tif": lambda image: Image.fromarray(np.asarray(image).astype(np.uint16) * 16),
    "I.tif": lambda image: image.convert("I"),
    "F.tif": lambda image: Image.fromarray(np.asarray(image, np.float32) / 255),
    "bmp.bmp": lambda image: image,
    "ppm.ppm": lambda image: image.convert("RGB"),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_shows_the_same_digit(tmp_path, name):
    path = saved(tmp_path / name, MODES[name](FIVE))
    read = images.read(path)
    assert read.mode in ("L", "RGB") and read.size == FIVE.size
    digit, findings = images.to_mnist(read)
    assert findings.reasons == () and not findings.inverted
    # Black and white, and JPEG, move the contour by less than a pixel of 400, that is 0.05 of ours.
    assert difference(digit, images.to_mnist(FIVE)[0]) < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lying = FIVE if orientation == 1 else FIVE.transpose(photos.STORED[orientation])
    path = saved(tmp_path / "five.png", lying, exif=exif)
    np.testing.assert_array_equal(seen(path), images.to_mnist(FIVE)[0])


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_ink_that_is_only_in_the_alpha_channel_is_found(tmp_path, ink, mode):
    cover = FIVE.point(lambda level: 255 if level < 128 else 0)
    if mode == "P":
        image = cover.point(lambda level: level // 255)
        image.putpalette([ink] * 6)
        path = saved(tmp_path / "a.png", image, transparency=0)
    else:
        image = Image.new(
            mode.removesuffix("A") or "L", FIVE.size, (ink,) * 3 if mode == "RGBA" else ink
        )
        image.putalpha(cover)
        path = saved(tmp_path / "a.png", image)
    digit, findings = images.to_mnist(images.read(path))
    assert findings.inverted == (ink == 255)
    assert difference(digit, images.to_mnist(FIVE)[0]) < ONE_FINE_PIXEL


def test_a_page_with_transparent_corners_keeps_its_own_paper(tmp_path):
    page = FIVE.convert("RGBA")
    corners = Image.new("L", FIVE.size, 255)
    ImageDraw.Draw(corners).polygon([(0, 0), (120, 0), (0, 160)], fill=0)
    page.putalpha(corners)
    read = images.read(saved(tmp_path / "a.png", page))
    assert read.getpixel((0, 0)) == FIVE.convert("RGB").getpixel((0, 0))
    digit, findings = images.to_mnist(read)
    assert findings.reasons == () and difference(digit, images.to_mnist(FIVE)[0]) < 0.01


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    path = tmp_path / "a.gif"
    FIVE.save(path, save_all=True, append_images=[photos.pencilled(0)])
    assert difference(seen(path), images.to_mnist(FIVE)[0]) < 0.1


def test_a_large_photo_is_made_small_early(tmp_path):
    large = FIVE.resize((3000, 4000))
    for name in ("a.jpg", "a.png"):
        read = images.read(saved(tmp_path / name, large))
        assert 2 * images.LARGEST <= max(read.size) < 4 * images.LARGEST
        assert difference(images.to_mnist(read)[0], images.to_mnist(FIVE)[0]) < ONE_FINE_PIXEL


# --- files that mean harm -------------------------------------------------------------------------

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n"


def iptc(content: bytes) -> bytes:
    """Pillow's IPTC container, which opens what it wraps with all formats there are."""

    def field(record: int, number: int, value: bytes) -> bytes:
        return bytes([0x1C, record, number]) + struct.pack(">H", len(value)) + value

    sizes = field(3, 20, b"\0\0\0\x63") + field(3, 30, b"\0\0\0\x63")
    kind = field(3, 60, b"\x01\0") + field(3, 120, b"\0\0\0\x05")
    return kind + sizes + field(8, 10, content)


HARMFUL = {
    "IPTC of PostScript": iptc(POSTSCRIPT),
    "IPTC of a bomb": iptc(header_of_a_png(9_000, 9_000)),
    "IPTC of a picture": iptc(bytes_of(FIVE, "PNG")),
    "PostScript": POSTSCRIPT,
    "PostScript with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, 99) + bytes(90),
    "icons": bytes_of(FIVE.resize((64, 64)), "ICNS"),
    "an icon": bytes_of(FIVE.resize((64, 64)), "ICO"),
    "Photoshop": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(20),
    "a metafile": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 99, 99, 72) + bytes(60),
    "a program": b"\x7fELF" + bytes(200),
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".eps"])
@pytest.mark.parametrize("name", HARMFUL)
def test_containers_and_programs_are_no_pictures_whatever_they_are_called(
    tmp_path, monkeypatch, name, suffix
):
    def started(*_, **__):
        raise AssertionError("something was started")

    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr("subprocess.check_call", started)
    monkeypatch.setattr("os.system", started)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(HARMFUL[name])
    with pytest.raises(images.ImageError, match="is no picture in a format that can be read"):
        images.read(path)


def test_the_harmful_files_are_what_they_are_taken_for(tmp_path):
    """Else the tests above would be of nothing: Pillow by itself opens the containers."""
    for name in ("IPTC of PostScript", "IPTC of a picture", "icons", "an icon", "PostScript"):
        (tmp_path / "a").write_bytes(HARMFUL[name])
        with Image.open(tmp_path / "a") as opened:
            assert opened.format not in images.FORMATS


def peak_of(path: Path) -> int:
    """How many MB reading and looking take beyond what the process had."""
    code = """if True:
        import sys
        from scratchnet.app import images
        def peak():
            with open("/proc/self/status") as file:
                return next(int(l.split()[1]) for l in file if l.startswith("VmHWM")) // 1024
        images.to_mnist(images.Image.new("L", (300, 400), 255))
        before = peak()
        try:
            images.to_mnist(images.read(sys.argv[1]))
        except images.ImageError:
            pass
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


LARGE = {
    **{f"16 bits.{kind}": ("I;16", (7000, 7000), 150) for kind in ("png", "tif")},
    "32 bits.tif": ("I", (6000, 8000), 260),
    "floats.tif": ("F", (8000, 6000), 260),
    "wide.png": ("L", (49_000_000, 1), 20),
    "wide 16 bits.png": ("I;16", (49_000_000, 1), 20),
    "wide floats.tif": ("F", (40_000_000, 1), 20),
    "tall.png": ("RGB", (1, 49_000_000), 20),
    "long.png": ("RGBA", (65_535, 700), 230),
    "high.tif": ("I;16", (700, 65_535), 150),
    "transparent.png": ("LA", (7000, 7000), 260),
    "colours.png": ("P", (7000, 7000), 110),
    "a.webp": ("RGB", (5000, 5000), 420),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to see memory in")
@pytest.mark.parametrize("name", LARGE)
def test_a_large_picture_takes_memory_for_its_pixels_once(tmp_path, name):
    mode, size, most = LARGE[name]
    path = saved(tmp_path / name, Image.new(mode, size))
    assert peak_of(path) <= most


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536), (49_999_999, 1), (70_000, 300)])
@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_picture_that_is_too_long_is_one_line(tmp_path, size, mode):
    path = saved(tmp_path / "a.png", Image.new(mode, size))
    with pytest.raises(images.ImageError, match="no side may be longer than 65,535"):
        images.read(path)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (60_000, 3), (2, 50_000)])
@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "F"])
def test_a_picture_of_one_row_is_blank_and_no_trouble(tmp_path, size, mode):
    path = saved(tmp_path / "a.tif", Image.new(mode, size))
    digit, findings = images.to_mnist(images.read(path))
    assert findings.box is None and not digit.any()


@pytest.mark.parametrize("name", ["I16.png", "I.tif", "F.tif"])
def test_reducing_in_tiles_changes_nothing(tmp_path, monkeypatch, name):
    large = FIVE.resize((3003, 4001))
    path = saved(tmp_path / name, MODES[name](large))
    whole = np.asarray(images.read(path))
    monkeypatch.setattr(images, "TILE", 5000)
    np.testing.assert_array_equal(np.asarray(images.read(path)), whole)
    assert difference(seen(path), images.to_mnist(FIVE)[0]) < ONE_FINE_PIXEL


def test_heic_is_read_where_its_reader_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is optional")
    pillow_heif.register_heif_opener()
    path = saved(tmp_path / "five.heic", FIVE.convert("RGB"), quality=90)
    assert difference(seen(path), images.to_mnist(FIVE)[0]) < ONE_FINE_PIXEL


@pytest.mark.parametrize("brand", images.BRANDS)
def test_without_its_reader_heic_is_named_with_what_installs_it(tmp_path, monkeypatch, brand):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x1cftyp" + brand + bytes(16))
    with pytest.raises(images.ImageError) as error:
        images.read(tmp_path / "a.jpg")
    assert str(error.value) == (
        f"{tmp_path / 'a.jpg'}: is a HEIC picture, which needs pillow-heif. "
        "`pip install pillow-heif`, or export it as JPEG."
    )


# --- MNIST's form ---------------------------------------------------------------------------------


def held_to_mnists_form(digit: np.ndarray) -> None:
    rows, columns = np.nonzero(digit)
    assert digit.shape == (28, 28) and digit.dtype == np.uint8
    assert 1 + max(np.ptp(rows), np.ptp(columns)) in (19, 20)
    middle = np.array(ndimage.center_of_mass(digit))
    # Pixels are 8 pixels of the black and white digit a side, each of which counts whole.
    assert (np.abs(middle - 14) <= 1 / 8).all()
    assert digit.max() > 250


@pytest.mark.parametrize("width", [2, 8, 20, 44])
@pytest.mark.parametrize("digit", range(10))
def test_a_pen_of_any_width_comes_out_as_wide_as_mnists(digit, width):
    found, findings = images.to_mnist(photos.pencilled(digit, (480, 640), width))
    held_to_mnists_form(found)
    low, high = images.STROKE
    # Grey edges count half, and corners and crossings are wider than the stroke.
    ink = Image.fromarray(found).resize((224, 224), Image.Resampling.BICUBIC)
    assert low - 0.4 < images._width(np.asarray(ink) > 127) < high + 0.6
    assert findings.reasons == ()


@pytest.mark.parametrize("digit", [1, 2, 7])
def test_a_thick_marker_is_made_as_thin_as_mnists_strokes(digit):
    found, _ = images.to_mnist(photos.pencilled(digit, (480, 640), 130))
    held_to_mnists_form(found)
    ink = Image.fromarray(found).resize((224, 224), Image.Resampling.BICUBIC)
    # Thinner, it is enlarged to its box again; 99 % of MNIST's are below 5 too.
    assert images._width(np.asarray(ink) > 127) < 5


def test_place_size_and_polarity_do_not_matter():
    plain = images.to_mnist(photos.pencilled(4, (480, 640), 30))[0]
    for middle, height in (((0.3, 0.3), 0.3), ((0.8, 0.8), 0.3), ((0.5, 0.5), 0.9)):
        width = round(30 * height / 0.6)
        for ink, paper in ((20, 240), (240, 20), (100, 160), (160, 100)):
            page = photos.pencilled(4, (480, 640), width, height, middle, ink, paper)
            digit, findings = images.to_mnist(page)
            assert findings.inverted == (ink > paper)
            assert findings.contrast == pytest.approx(abs(ink - paper) / 255, abs=0.02)
            # A whole-pixel shift for a centre of mass that rounds the other way.
            assert (
                min(
                    difference(np.roll(digit, (i, j), (0, 1)), plain)
                    for i in (-1, 0, 1)
                    for j in (-1, 0, 1)
                )
                < 0.25
            )


def test_light_that_falls_off_and_a_shadow_change_little():
    plain = images.to_mnist(FIVE)[0]
    lamp = np.linspace(1.0, 0.35, 300) * np.where(np.arange(400) < 180, 1.0, 0.55)[:, None]
    page = Image.fromarray((np.asarray(FIVE) * lamp).astype(np.uint8))
    digit, findings = images.to_mnist(page)
    assert findings.reasons == () and difference(digit, plain) < 0.25


@pytest.mark.parametrize(("ink", "paper", "sigma"), [(40, 235, 40), (75, 25, 14)])
def test_a_digit_is_found_through_noise(ink, paper, sigma):
    rng = np.random.default_rng(0)
    page = np.asarray(photos.pencilled(5, ink=ink, paper=paper))
    noisy = (page + sigma * rng.standard_normal(page.shape)).clip(0, 255).astype(np.uint8)
    digit, findings = images.to_mnist(Image.fromarray(noisy))
    assert findings.reasons == () and difference(digit, images.to_mnist(FIVE)[0]) < 0.4


def test_a_sheet_on_a_dark_desk_is_not_the_digit():
    desk = Image.new("L", (400, 500), 40)
    desk.paste(FIVE.rotate(3, fillcolor=40, expand=True), (35, 40))
    digit, findings = images.to_mnist(desk)
    left, top, right, bottom = findings.box
    assert 0.25 < left < right < 0.8 and 0.2 < top < bottom < 0.85 and not findings.inverted
    held_to_mnists_form(digit)


def test_neither_a_pen_that_lies_on_the_page_nor_a_sticker_is_the_digit():
    page = photos.pencilled(5, (400, 500), height=0.3)
    page.paste(30, (180, 0, 215, 130))
    page.paste(30, (40, 380, 110, 450))
    _, findings = images.to_mnist(page)
    left, top, right, bottom = findings.box
    assert 0.35 < left < right < 0.65 and 0.33 < top < bottom < 0.67


def test_the_box_is_where_the_ink_is():
    page = Image.new("L", (500, 400), 240)
    page.paste(20, (100, 200, 120, 320))
    _, findings = images.to_mnist(page)
    assert findings.box == pytest.approx((0.2, 0.5, 0.24, 0.8), abs=0.01)
    assert findings.reasons == (), "a bar fills its box, and is a 1"


def test_a_digit_in_two_strokes_is_one_and_two_digits_are_doubted():
    page = Image.new("L", (400, 400), 240)
    pen = ImageDraw.Draw(page)
    pen.line([(150, 120), (250, 120)], fill=20, width=14)
    pen.line([(150, 150), (150, 220), (250, 220), (250, 300), (150, 300)], fill=20, width=14)
    _, findings = images.to_mnist(page)
    assert findings.reasons == () and findings.box[1] < 0.3, "lost the bar of the 5"
    both = Image.new("L", (600, 400), 235)
    both.paste(photos.pencilled(4), (0, 0))
    both.paste(photos.pencilled(2), (300, 0))
    _, findings = images.to_mnist(both)
    assert any("several things" in reason for reason in findings.reasons)


def test_what_is_in_mnists_form_already_comes_back_as_it_is():
    for drawn in range(10):
        digit = images.to_mnist(photos.pencilled(drawn))[0]
        for pixels, inverted in ((digit, True), (255 - digit, False)):
            found, findings = images.to_mnist(Image.fromarray(pixels))
            np.testing.assert_array_equal(found, digit)
            assert findings.inverted == inverted and findings.reasons == ()


def test_all_of_mnists_own_pictures_come_back_as_they_are(mnist):
    for digit in mnist[2][:1000]:
        for pixels in (digit, 255 - digit):
            found, findings = images.to_mnist(Image.fromarray(pixels))
            np.testing.assert_array_equal(found, digit)
            assert findings.reasons == ()


# --- doubts ---------------------------------------------------------------------------------------


def block() -> Image.Image:
    page = Image.new("L", (400, 400), 240)
    page.paste(20, (150, 150, 240, 230))
    return page


def speck() -> Image.Image:
    page = Image.new("L", (400, 400), 240)
    page.paste(20, (200, 200, 206, 209))
    return page


def lattice() -> Image.Image:
    page = Image.new("L", (400, 400), 240)
    for at in range(100, 301, 50):
        ImageDraw.Draw(page).line([(at, 100), (at, 300)], fill=20, width=8)
        ImageDraw.Draw(page).line([(100, at), (300, at)], fill=20, width=8)
    return page


def dashes() -> Image.Image:
    page = Image.new("L", (400, 400), 240)
    pen = ImageDraw.Draw(page)
    pen.line([(150, 100), (150, 300)], fill=20, width=10)
    for at in range(110, 300, 40):
        pen.line([(165, at), (185, at)], fill=20, width=10)
    return page


DOUBTED = {
    "no strokes": lambda: Image.new("RGB", (300, 400), (240, 230, 200)),
    "ink covers": block,
    "of the picture's size": speck,
    "holes": lattice,
    "pieces": dashes,
    "hardly darker": lambda: photos.pencilled(5, ink=50, paper=70),
}


@pytest.mark.parametrize("words", DOUBTED)
def test_what_looks_like_no_digit_is_doubted(words):
    digit, findings = images.to_mnist(DOUBTED[words]())
    assert any(words in reason for reason in findings.reasons), findings
    assert (findings.box is None) == (words == "no strokes") == (not digit.any())


@pytest.mark.parametrize("sigma", [0, 2, 6, 12])
def test_on_a_blank_page_in_uneven_light_nothing_is_found(sigma):
    rng = np.random.default_rng(0)
    page = 190 * np.linspace(0.5, 1, 300) + sigma * rng.standard_normal((400, 300))
    digit, findings = images.to_mnist(Image.fromarray(page.clip(0, 255).astype(np.uint8)))
    assert findings.box is None and not digit.any()


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["L", "RGB", "RGBA"]),
    st.sampled_from([1, 40, 255]),
)
@example(width=1, height=54, seed=23378, mode="RGBA", levels=255)  # ink that is all but one grey
def test_any_picture_whatever_has_an_answer(width, height, seed, mode, levels):
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, levels, (height, width, *bands), np.uint8, endpoint=True)
    before = pixels.copy()
    digit, findings = images.to_mnist(Image.fromarray(pixels))
    np.testing.assert_array_equal(pixels, before)
    assert digit.shape == (28, 28) and digit.any() == (findings.box is not None)
    if findings.box:
        left, top, right, bottom = findings.box
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


# --- scores ---------------------------------------------------------------------------------------


def trained(data: datasets.Data, epochs: int):
    model = run_training.build_model(run_training.RunSettings(epochs=epochs), data)
    model.fit(*data[0], batch_size=32, epochs=epochs, verbose=0)
    return model


def score(model, album: list[photos.Photo], folder: Path) -> dict[str, list[bool]]:
    """For each kind, whether each photo of it was read right."""
    right: dict[str, list[bool]] = {}
    for i, photo in enumerate(album):
        path = folder / f"{i}{photo.suffix}"
        path.write_bytes(photo.content)
        answer = int(model.run(seen(path)[None])[-1].Z.argmax())
        right.setdefault(photo.kind, []).append(answer == photo.label)
    return right


def test_digits_drawn_with_a_pen_are_read_by_a_network_that_never_saw_mnist():
    """Ten digits, three pens, on the digits that are bundled: what people have without MNIST."""
    model = trained(datasets.digits.load_data(), epochs=30)
    pages = [(d, photos.pencilled(d, width=width)) for d in range(10) for width in (3, 14, 30)]
    right = sum(int(model.run(images.to_mnist(p)[0][None])[-1].Z.argmax()) == d for d, p in pages)
    assert right >= 21, f"{right} of 30"


def test_nine_in_ten_photos_that_nobody_tuned_on_are_read_right(mnist, tmp_path, capsys):
    x_train, y_train, x_test, y_test = mnist
    model = trained(((x_train, y_train), (x_test, y_test)), epochs=10)
    album = photos.album(x_test, y_test, 200, photos.SCORING_SEED)
    right = score(model, album, tmp_path)
    album = photos.album(x_test, y_test, 30, photos.SCORING_SEED + 1, photos.EXTRA)
    extra = score(model, album, tmp_path)
    with capsys.disabled():
        for kind, answers in (right | extra).items():
            print(f"{kind}: {sum(answers)} of {len(answers)}")
    assert {len(answers) for answers in right.values()} == {25}
    assert sum(map(sum, right.values())) >= 180
    assert sum(map(sum, extra.values())) >= 24


def test_a_digit_that_runs_into_the_edge_is_known_as_one_and_not_doubted():
    """Tightly cut crops do, and most are read rightly: what to make of it is for `predict`."""
    whole, cut = images.to_mnist(FIVE)[1], images.to_mnist(FIVE.crop((0, 0, 300, 250)))[1]
    assert (whole.touches_edge, cut.touches_edge) == (False, True)
    assert not any("edge" in reason for reason in cut.reasons)
