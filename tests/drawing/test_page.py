"""The page in a real browser: drawn with the pointer, as a person does."""

import pathlib
import shutil
import signal
import time
import zipfile

import pytest

from supervised_reptile.classification.command import classify

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.actions.pointer_input import PointerInput  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="there is no chromium with chromedriver"
)
MODEL = str(pathlib.Path(__file__).parents[2] / "experiments" / "models" / "o15")
HOUSE = (
    [(50, 190), (52, 100), (172, 96), (175, 188), (50, 190)],
    [(40, 104), (110, 40), (184, 100)],
    [(98, 188), (98, 140), (128, 140), (128, 188)],
)


@pytest.fixture(scope="module")
def address(start, tmp_path_factory):
    """Of the page that the command serves; Ctrl-C ends it without a complaint."""
    home = tmp_path_factory.mktemp("home")
    with start("omniglot", f"--pretrained --checkpoint {MODEL} --draw", home) as served:
        line = served.stdout.readline()
        yield line.split()[2]
        served.send_signal(signal.SIGINT)
        assert served.wait(30) == 0
        assert "Traceback" not in served.stderr.read()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--window-size=1100,1000")
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(profile)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.downloads = profile
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, address):
    """The page as it is at first."""
    browser.get(address)
    wait(browser, "Adapted to 6 drawings")
    yield browser
    assert browser.get_log("browser") == []


def found(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def wait(page, words):
    """Until the status has these words, and is of what is drawn now."""
    end, status = time.monotonic() + 60, page.find_element(By.ID, "status")
    while words not in status.text or status.get_attribute("aria-busy") == "true":
        assert time.monotonic() < end, status.text
        time.sleep(0.05)


def draw(page, *strokes, pointer="mouse"):
    devices = [PointerInput(pointer, pointer)]
    canvas = page.find_element(By.ID, "canvas")
    scale = canvas.size["width"] / 224
    for stroke in strokes:
        places = [(int((x - 112) * scale), int((y - 112) * scale)) for x, y in stroke]
        actions = webdriver.ActionChains(page, duration=10, devices=devices)
        actions.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
        for place in places[1:]:
            actions.move_to_element_with_offset(canvas, *place)
        actions.release().perform()


def bars(page):
    # All at one moment: an answer puts new ones in their place.
    texts = "return [...document.querySelectorAll('#bars li')].map(bar => bar.innerText)"
    return dict(text.split("\n") for text in page.execute_script(texts))


def test_what_is_drawn_is_saved_and_classified_by_the_command_as_on_the_page(page):
    draw(page, *HOUSE)
    wait(page, "answered")
    assert [bar.text.split()[0] for bar in found(page, ".best")] == ["house"]
    found(page, ".add")[0].click()  # now it is a fish
    wait(page, "Adapted to 7 drawings")
    name = found(page, "input")[1]
    name.send_keys(Keys.CONTROL, "a")
    name.send_keys("cottage", Keys.ENTER)
    draw(page, HOUSE[1])
    wait(page, "answered")
    shown = bars(page)
    assert shown.keys() == {"fish", "cottage", "star"}
    page.find_element(By.ID, "save").click()
    archive = page.downloads / "drawings.zip"
    while not archive.exists():
        time.sleep(0.05)
    with zipfile.ZipFile(archive) as file:
        file.extractall(page.downloads)
    drawings = page.downloads / "drawings"
    (answer,) = classify(MODEL, str(drawings / "labelled"), str(drawings / "new"))
    assert {k: f"{100 * p:.1f} %" for k, p in answer.probabilities.items()} == shown


def rename(page, number, name):
    """Type it, as somebody does who then goes on elsewhere."""
    field = found(page, "input")[number]
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(name)


def test_after_a_name_was_typed_the_next_stroke_and_the_next_click_count(page):
    picture = "return document.getElementById('canvas').toDataURL()"
    draw(page, HOUSE[1])
    whole = page.execute_script(picture)
    page.find_element(By.ID, "clear").click()
    rename(page, 1, "cottage")
    draw(page, HOUSE[1])
    assert page.execute_script(picture) == whole
    rename(page, 0, "pike")
    found(page, ".add")[0].click()
    wait(page, "Adapted to 7 drawings")
    rename(page, 2, "sun")
    found(page, ".remove")[2].click()
    wait(page, "Adapted to 5 drawings")
    assert [field.get_property("value") for field in found(page, "input")] == ["pike", "cottage"]


def test_an_answer_leaves_the_name_of_a_new_class_selected(page):
    page.execute_script(
        "const now = fetch; window.fetch = async (...request) => {"
        " await new Promise((done) => setTimeout(done, 500)); return now(...request); }"
    )
    draw(page, HOUSE[1])
    found(page, ".add")[0].click()
    page.find_element(By.ID, "add-class").click()
    wait(page, "Adapted to 7 drawings")
    page.switch_to.active_element.send_keys("tree")
    assert found(page, "input")[3].get_property("value") == "tree"
    pictures = "return [...document.querySelectorAll('article .seen')].map(one => one.naturalWidth)"
    assert page.execute_script(pictures) == [28] * 7


def test_a_stroke_that_is_being_drawn_is_taken_back_and_ends(page):
    draw(page, HOUSE[0])
    wait(page, "answered")
    canvas = page.find_element(By.ID, "canvas")
    before = page.execute_script("return arguments[0].toDataURL()", canvas)
    actions = webdriver.ActionChains(page, duration=10)
    actions.move_to_element_with_offset(canvas, -50, -50).click_and_hold().move_by_offset(30, 0)
    actions.key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL)
    actions.move_by_offset(0, 60).release().perform()
    wait(page, "answered")
    assert page.execute_script("return arguments[0].toDataURL()", canvas) == before


def test_strokes_and_classes_are_taken_back(page):
    draw(page, HOUSE[0], pointer="touch")
    draw(page, HOUSE[1], pointer="pen")
    wait(page, "answered")
    page.find_element(By.ID, "undo").click()
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "z")
    wait(page, "Now draw one of the classes")
    assert not bars(page) and not page.find_element(By.ID, "undo").is_enabled()
    found(page, "li button")[0].click()
    wait(page, "Adapted to 5 drawings")
    found(page, ".remove")[0].click()
    wait(page, "Adapted to 4 drawings")
    page.find_element(By.ID, "clear-all").click()
    wait(page, "Give at least two classes")
    for _ in range(5):
        page.find_element(By.ID, "add-class").click()
    assert len(found(page, "article")) == 5
    assert not page.find_element(By.ID, "add-class").is_enabled()


def test_two_pages_do_not_disturb_one_another(page, address):
    first = page.current_window_handle
    draw(page, *HOUSE)
    wait(page, "answered")
    before = bars(page)
    page.switch_to.new_window("tab")
    page.get(address)
    wait(page, "Adapted to 6 drawings")
    found(page, ".remove")[2].click()
    wait(page, "Adapted to 4 drawings")
    page.close()
    page.switch_to.window(first)
    draw(page, [(1, 1), (1, 1)])
    page.find_element(By.ID, "undo").click()
    wait(page, "Adapted to 6 drawings")
    assert bars(page) == before
