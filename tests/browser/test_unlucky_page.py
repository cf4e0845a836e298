"""What goes wrong on a page that people really use: input methods, odd files, slow lines, two windows, a server that was started again."""

from __future__ import annotations

import io
import re
import time

import pytest

from tests.browser.visitor import PATIENCE, FakeServer, expect, proxied, replies, say, take_all_away, watched, welcome
from tests.fake_engine import draw

pytestmark = pytest.mark.browser

COMPOSED = "e => e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, keyCode: 229, bubbles: true, cancelable: true}))"
PASTE = """(e, text) => {
    const data = new DataTransfer();
    data.setData('text/plain', text);
    const event = new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true});
    if (e.dispatchEvent(event)) { e.focus(); document.execCommand('insertText', false, text); }
}"""


class Uploads:
    """Those of a page: each is held until the test says what becomes of it."""

    def __init__(self, page) -> None:
        self.page, self.held = page, []
        page.route(re.compile("/upload([?]|$)"), lambda route: self.held.append(route))

    def next(self):
        """The one that comes next, as a route."""
        until = time.monotonic() + 30 * PATIENCE
        while not self.held:
            assert time.monotonic() < until, "nothing was uploaded"
            self.page.wait_for_timeout(20)
        return self.held.pop(0)


def jpeg(seed: int = 1) -> bytes:
    buffer = io.BytesIO()
    draw(seed, 160).save(buffer, "JPEG")
    return buffer.getvalue()


def add(page, name: str, data: bytes, where: str = "#box input[type=file]") -> None:
    page.locator(where).first.set_input_files({"name": name, "mimeType": "", "buffer": data})


def open_mix(page) -> None:
    """On an empty board."""
    page.locator("#panel-mix-button").click()
    page.locator("#mix-form [data-drop=subject]").wait_for(state="attached")
    page.wait_for_timeout(300)
    page.locator("#mix-bar [data-act='mix.new']").click() if page.locator("#mix-bar [data-act='mix.new']").count() else None
    expect(page.locator(".mix-photo")).to_have_count(0)


def test_an_input_methods_enter_is_no_enter(page):
    page.locator("#box textarea").fill("半")
    page.locator("#box textarea").evaluate(COMPOSED)
    page.wait_for_timeout(300)
    expect(page.locator("#status")).to_have_text("")
    open_mix(page)
    page.locator("[data-field=words]").fill("港")
    page.locator("[data-field=words]").evaluate(COMPOSED)
    page.wait_for_timeout(500)
    assert page.locator(".mix-doing").count() == 0 and page.locator(".mix-ref").count() == 0
    page.evaluate("document.querySelector('[data-names]').dataset.names = 'tom'")
    page.locator("#box textarea").fill("")
    page.locator("#box textarea").press_sequentially("<t")
    expect(page.locator("#complete [role=option]")).to_have_text("<tom>")
    page.locator("#box textarea").evaluate(COMPOSED)
    expect(page.locator("#complete [role=option]")).to_have_text("<tom>")
    expect(page.locator("#box textarea")).to_have_value("<t")


@pytest.mark.parametrize("count", [4001, 100_000])
def test_a_long_paste_stays_words(page, count):
    page.locator("#box textarea").evaluate(PASTE, "x" * count)
    expect(page.locator("#box textarea")).to_have_value("x" * count)
    assert page.locator("#box .thumbnail-item").count() == 0
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#notice .fault")).to_contain_text(f"{count:,} characters; the limit is 4,000")
    expect(page.locator("#box textarea")).to_have_value("x" * count)
    expect(page.locator("#status")).to_have_text("")


NAMES = ["photo.jfif", "\U0001f431.png", "!!!.jpg", "picture", "IMG_0001.HEIC", "x.avif", "猫" * 60 + ".jpeg", "a'b\"c;<b>.png", "..%2f..%2fx.png", "CON.png",
         ".png", "notes.txt"]


def test_what_is_in_a_file_decides_and_not_its_name(page):
    page.locator("#steps input[type=number]").fill("1")
    for number, name in enumerate(NAMES, 1):
        add(page, name, jpeg(number))
        expect(page.locator("#box .thumbnail-item"), name).to_have_count(1)
        say(page, "words only")
        expect(replies(page), name).to_have_count(number)
        expect(page.locator("#status"), name).to_have_text("")
        expect(page.locator("#box .submit-button")).to_be_visible()
    open_concepts_anyway(page)
    take_all_away(page)
    for number, name in enumerate(NAMES[:6], 1):
        add(page, name, jpeg(number), "#concept-drop input[type=file]")
        expect(page.locator(".picked figure"), name).to_have_count(number)
    add(page, "pyt.pt", b"\x80\x04K\x01.", "#concept-import input[type=file]")
    expect(page.locator("#concept-notice .fault")).to_contain_text("is no concept")
    open_mix(page)
    for number, name in enumerate(NAMES[:4], 1):
        add(page, name, jpeg(number), "[data-put=subject]")
        expect(page.locator(".mix-photo"), name).to_have_count(number)


def open_concepts_anyway(page) -> None:
    page.get_by_role("tab", name="Concepts").click()
    page.locator("#concept-drop input[type=file]").wait_for(state="attached")


def test_a_file_that_is_no_picture_is_said_and_nothing_hangs(page):
    add(page, "film.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(100))
    page.locator("#box .thumbnail-item").wait_for()
    say(page, "this one")
    expect(page.locator("#notice .fault")).to_contain_text("This is a video, not a picture.")
    expect(page.locator("#status")).to_have_text("")
    expect(page.locator("#box textarea")).to_have_value("this one")


def test_enter_before_the_picture_is_there_waits_for_it(page):
    uploads = Uploads(page)
    add(page, "slow.jpg", jpeg(5))
    say(page, "words only")
    expect(page.locator("#status")).to_have_text("Waiting for the picture to arrive")
    uploads.next().continue_()
    expect(page.locator("#chat .user-row .photo img")).to_have_count(1)
    expect(replies(page)).to_have_count(1)
    expect(page.locator("#box .thumbnail-item")).to_have_count(0)


@pytest.mark.parametrize("status", [500, 413, 0])
def test_a_picture_that_does_not_arrive_is_said_and_the_words_stay(upset_page, status):
    page, said, uploads = upset_page, "smaller copy" if status == 413 else "did not arrive. Add it again.", Uploads(upset_page)

    def fail() -> None:
        route = uploads.next()
        route.fulfill(status=status, body="no") if status else route.abort()

    add(page, "lost.jpg", jpeg(6))
    say(page, "put it in the snow")
    fail()
    expect(page.locator("#status")).to_have_text(re.compile(said))
    page.wait_for_timeout(500)
    expect(page.locator("#box textarea")).to_have_value("put it in the snow")
    assert page.locator("#chat .user-row").count() == 0
    open_concepts_anyway(page)
    add(page, "lost.jpg", jpeg(6), "#concept-drop input[type=file]")
    fail()
    expect(page.locator("#concepts-status")).to_have_text(re.compile(said))
    open_mix(page)
    add(page, "lost.jpg", jpeg(6), "[data-put=subject]")
    fail()
    expect(page.locator("#mix-status")).to_have_text(re.compile(said))
    say(page, "words only")  # the lost picture does not turn up in what comes next
    expect(replies(page)).to_have_count(1)
    assert page.locator("#chat .user-row .photo img").count() == 0


def test_send_pressed_as_a_picture_fails_sends_no_words_without_it(upset_page):
    page, uploads = upset_page, Uploads(upset_page)
    page.locator("#box textarea").fill("words only")
    page.evaluate("""() => new MutationObserver((_, one) => {
        if (!document.querySelector('#status.failed')) return;
        one.disconnect();
        setTimeout(() => { document.querySelector('#box .submit-button').click(); window.pressed = true; }, 40);
    }).observe(document.querySelector('#status'), {childList: true, attributes: true})""")
    add(page, "lost.jpg", jpeg(6))
    uploads.next().fulfill(status=413, body="no")
    page.wait_for_function("window.pressed")
    expect(page.locator("#status")).to_have_text(re.compile("smaller copy"))
    page.wait_for_timeout(1000)
    expect(page.locator("#status")).to_have_text(re.compile("smaller copy"))
    assert page.locator("#chat .user-row").count() == 0
    say(page, "words only")
    expect(replies(page)).to_have_count(1)


def test_a_file_over_the_limit_is_said_at_once(page, tmp_path):
    huge = tmp_path / "huge.jpg"
    huge.write_bytes(jpeg() + bytes(41 * 2**20))
    page.locator("#box input[type=file]").first.set_input_files(huge)
    expect(page.locator("#status")).to_have_text("huge.jpg has 42 MB; the limit is 40 MB. Save a smaller copy of it.")
    assert page.locator("#box .thumbnail-item").count() == 0


def test_lines_run_as_their_first_letter_does(page):
    direction = "e => getComputedStyle(e).direction"
    page.locator("#box textarea").fill("قطتي <tom> على الشاطئ!")
    assert page.locator("#box textarea").evaluate(direction) == "rtl"
    say(page, "words only: hello\nמה השתנה? (הכובע האדום)")
    lines = page.locator("#chat .user-row .say > div")
    expect(lines).to_have_count(2)
    assert [lines.nth(n).evaluate(direction) for n in (0, 1)] == ["ltr", "rtl"]
    expect(replies(page)).to_have_count(1)
    expect(page.locator("#box .submit-button")).to_be_visible()
    page.locator("[data-act=new]").click()
    say(page, "מה words only")
    entry = page.locator("#conversations .entry .title").first
    expect(entry).to_have_text("מה words only")
    assert entry.evaluate(direction) == "rtl"


LATE = """() => {
    const plain = window.fetch;
    window.fetch = async (...given) => {
        if (/queue[/]join/.test(String(given[0]?.url || given[0])) && !window.late) {
            window.late = true;
            await new Promise((done) => setTimeout(done, 1500));
        }
        return plain(...given);
    };
}"""


def test_what_is_sent_before_the_new_conversation_is_open_goes_into_it(page):
    say(page, "words only, before")
    expect(replies(page)).to_have_count(1)
    expect(page.locator("#box .submit-button")).to_be_visible()
    page.evaluate(LATE)
    page.locator("[data-act=new]").click()
    say(page, "words only, after")
    expect(page.locator("#status")).to_have_text("Sending when this is done")
    expect(page.locator("#chat .user-row")).to_have_text(re.compile("after"))
    expect(replies(page)).to_have_count(1)
    expect(page.locator("#conversations .entry .title").first).to_have_text("words only, after")
    expect(page.locator("#box textarea")).to_have_value("")


def test_back_goes_to_the_conversation_before(page):
    for n in ("one", "two"):
        page.locator("[data-act=new]").click()
        expect(page.locator("#chat .user-row")).to_have_count(0)
        say(page, f"words only, {n}")
        expect(replies(page)).to_contain_text(n)
        expect(page.locator("#box .submit-button")).to_be_visible()
    entries = page.locator("#conversations .entry .to")
    expect(page).to_have_url(re.compile("c="))
    two = page.url
    entries.nth(1).click()
    expect(page.locator("#chat .user-row")).to_contain_text("one")
    expect(page).not_to_have_url(two)
    one = page.url
    entries.nth(0).click()
    expect(page.locator("#chat .user-row")).to_contain_text("two")
    expect(page).to_have_url(two)
    page.go_back()
    expect(page.locator("#chat .user-row")).to_contain_text("one")
    assert page.url == one
    page.go_forward()
    expect(page.locator("#chat .user-row")).to_contain_text("two")
    page.go_back()
    expect(page.locator("#chat .user-row")).to_contain_text("one")


def test_a_double_click_on_send_does_not_stop_what_it_sent(page):
    page.locator("#box textarea").fill("on the beach")
    page.locator("#box .submit-button").dblclick(delay=20)
    expect(page.locator("#chat .acts")).to_have_count(1)
    assert "Stopped" not in replies(page).inner_text() and page.locator("#notice .fault").count() == 0
    page.get_by_role("button", name="Redraw").dblclick()
    expect(page.locator("#chat .acts")).to_have_count(2)
    page.wait_for_timeout(500)
    assert page.locator("#chat .acts").count() == 2 and page.locator("#notice .fault").count() == 0


def test_a_second_window_sees_the_turn_and_can_stop_it(page, tmp_path):
    say(page, "words only, first")
    expect(replies(page)).to_have_count(1)
    expect(page).to_have_url(re.compile("c="))
    other = page.context.new_page()
    other.goto(page.url)
    expect(replies(other)).to_have_count(1)
    say(page, f"a long one until {tmp_path / 'stopped'}")
    expect(other.locator("#chat .doing")).to_contain_text("Drawing, step")
    other.locator("#box textarea").fill("me too")
    other.locator("#box .stop-button").dispatch_event("click")
    expect(replies(page).nth(1)).to_contain_text("Stopped.")
    expect(replies(other).nth(1)).to_contain_text("Stopped.")
    expect(other.locator("#box textarea")).to_have_value("me too")
    expect(other.locator("#box .submit-button")).to_be_visible()
    other.locator("[data-act=new]").click()
    say(other, "words only, elsewhere")  # and the list of the first is fresh
    expect(page.locator("#conversations .title").first).to_have_text("words only, elsewhere")


def test_settings_and_what_is_not_yet_sent_outlast_a_reload(page):
    page.locator("#steps input[type=number]").fill("7")
    page.locator("#steps input[type=number]").press("Tab")
    page.locator("#seed textarea").fill("9007199254740993")
    page.locator("#box textarea").fill("not yet\nsaid")
    add(page, "mine.jpg", jpeg(9))
    page.locator("#box .thumbnail-item").wait_for()
    page.wait_for_timeout(300)
    page.reload()
    expect(page.locator("#box textarea")).to_have_value("not yet\nsaid")
    expect(page.locator("#box .thumbnail-item")).to_have_count(1)
    expect(page.locator("#steps input[type=number]")).to_have_value("7")
    expect(page.locator("#seed textarea")).to_have_value("9007199254740993")
    say(page, "snow")
    expect(page.locator("#chat .seed")).to_have_text("Seed 9007199254740993")
    assert page.locator("#chat .user-row .photo img").count() == 1
    page.locator("#reset").click()
    expect(page.locator("#steps input[type=number]")).to_have_value("20")
    page.wait_for_timeout(300)
    page.reload()
    expect(page.locator("#chat .seed")).to_have_count(1)
    expect(page.locator("#box textarea")).to_have_value("")
    expect(page.locator("#seed textarea")).to_have_value("")


def test_a_window_that_is_closed_says_so(page):
    say(page, "words only")
    expect(replies(page)).to_have_count(1)
    with page.expect_response(re.compile(r"/left\?session_hash=\w+$")) as answer:
        page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: false}))")
    assert answer.value.status == 204


def test_conversations_have_pictures_and_names_and_come_back_quietly(page):
    for n in ("one", "two"):
        page.locator("[data-act=new]").click()
        expect(page.locator("#chat .user-row")).to_have_count(0)
        page.locator("#steps input[type=number]").fill("1")
        say(page, f"a same wish {n}")
        expect(page.locator("#chat .acts")).to_have_count(1)
        expect(page.locator("#box .submit-button")).to_be_visible()
    entries = page.locator("#conversations .entry")
    sources = [entries.nth(n).locator("img").get_attribute("src") for n in (0, 1)]
    assert len(set(sources)) == 2 and all("pictures/" in one for one in sources)
    entries.nth(1).hover()
    entries.nth(1).get_by_role("button", name="Rename").click()
    page.keyboard.type("The <b>first</b>")
    page.keyboard.press("Enter")
    expect(entries.nth(1).locator(".title")).to_have_text("The <b>first</b>")
    expect(page).to_have_url(re.compile(rf"\?c={entries.nth(0).get_attribute('data-id')}$"))  # what was typed opened nothing
    page.reload()
    expect(entries.nth(1).locator(".title")).to_have_text("The <b>first</b>")
    expect(page.locator("#chat .user-row")).to_contain_text("two")
    entries.nth(1).hover()
    entries.nth(1).locator(".remove").click()
    expect(page.locator("#notice .note")).to_contain_text("The conversation “The <b>first</b>” is deleted.")
    page.get_by_role("button", name="Undo").click()
    expect(entries.nth(1).locator(".title")).to_have_text("The <b>first</b>")
    expect(page.locator("#chat .user-row")).to_contain_text("two")  # the reader was not asked to go anywhere
    entries.nth(0).hover()
    entries.nth(0).locator(".remove").click()
    expect(page.locator("#chat .user-row")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#chat .user-row")).to_contain_text("two")


def test_pictures_at_hand_are_fresh_and_those_in_use_are_marked(page):
    open_mix(page)
    page.locator("#seed textarea").evaluate("e => { e.value = '424242'; e.dispatchEvent(new Event('input', {bubbles: true})); }")
    say(page, "something new")
    expect(page.locator("#chat .acts")).to_have_count(1)
    picture = page.locator("#chat .picture img").get_attribute("src")
    tile = page.locator(f"#mix-shelf button:has(img[src='{picture}'])")
    expect(tile).to_have_attribute("aria-pressed", "false")
    tile.click()
    expect(page.locator(".mix-photo")).to_have_count(1)
    expect(tile).to_have_attribute("aria-pressed", "true")
    open_concepts_anyway(page)
    page.locator("#concept-sources .label-wrap").click()
    tile = page.locator(f"#concept-sources button:has(img[src='{picture}'])")
    before = page.locator(".picked figure").count()
    tile.click()
    expect(page.locator(".picked figure")).to_have_count(before + 1)
    expect(tile).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name=f"Take picture {before + 1} away").click()
    expect(tile).to_have_attribute("aria-pressed", "false")


def test_a_reload_in_the_middle_of_a_turn_writes_no_error(page, tmp_path):
    faults: list[str] = []
    page.on("console", note := lambda message: faults.append(message.text) if message.type == "error" else None)
    page.locator("#steps input[type=number]").fill("4")
    say(page, f"until {tmp_path / 'reloaded'}")
    expect(page.locator("#chat .doing")).to_contain_text("Drawing, step")
    expect(page).to_have_url(re.compile("c="))
    for _ in range(2):
        page.reload()
        expect(page.locator("#chat .doing")).to_contain_text("Drawing, step")
    (tmp_path / "reloaded").touch()
    expect(page.locator("#chat .acts")).to_have_count(1)
    page.remove_listener("console", note)
    assert faults == []


def test_a_server_that_was_started_again_under_the_page(tab, tmp_path):
    page = tab
    with FakeServer("--pause", "0", "--data-dir", str(tmp_path)) as server:
        welcome(page, server.url)
        page.locator("#steps input[type=number]").fill("2")
        say(page, "one")
        expect(page.locator("#chat .acts")).to_have_count(1)
        expect(page.locator("#box .submit-button")).to_be_visible()
        page.locator("#box textarea").fill("with this one")
        add(page, "third.jpg", jpeg(3))
        page.locator("#box .thumbnail-item").wait_for()
        page.wait_for_function("JSON.parse(sessionStorage.getItem('cafe-draft'))?.files.length")
        page.wait_for_timeout(1500)  # what came into the box has been read: nothing is under way when the program ends
        server.kill()
        server.start()
        page.get_by_role("button", name="Redraw").click()  # what can go on does
        expect(page.locator("#chat .acts")).to_have_count(2)
        page.locator("#box textarea").press("Enter")
        expect(page.locator("#status")).to_have_text(re.compile("^The program was started again meanwhile. Reload the page; what you wrote stays.$|"
                                                                "^A picture that was in the box is not there any more. Add it again.$"))
        expect(page.locator("#box textarea")).to_have_value("with this one")
        for _ in range(2):  # by hand, or by itself before that: it is said until the words are sent
            page.reload()
            expect(page.locator("#box textarea")).to_have_value("with this one")
            expect(page.locator("#status")).to_have_text("A picture that was in the box is not there any more. Add it again.")
        expect(page.locator("#box .thumbnail-item")).to_have_count(0)
        expect(page.locator("#chat .acts")).to_have_count(2)
        server.kill()
        for words in ("is anybody there?", "anybody at all?"):  # the second when the page knows already that nobody is
            say(page, words)
            expect(page.locator("#status")).to_contain_text("The program does not answer. What you wrote stays")
        server.start()
        expect(page.locator("#status")).to_have_text("")  # the page loads anew by itself
        expect(page.locator("#chat .acts")).to_have_count(2)
        expect(page.locator("#box textarea")).to_have_value("anybody at all?")


def test_a_picture_whose_file_is_lost_is_said_and_the_talk_goes_on(tab, tmp_path):
    page = tab
    with FakeServer("--pause", "0", "--data-dir", str(tmp_path)) as server:
        welcome(page, server.url)
        page.locator("#steps input[type=number]").fill("1")
        say(page, "one")
        expect(page.locator("#chat .acts")).to_have_count(1)
        for file in tmp_path.glob("pictures/*/*.png"):
            file.unlink()
        page.context.new_cdp_session(page).send("Network.clearBrowserCache")  # it has not seen it
        page.reload()
        expect(page.locator("#chat .picture")).to_have_text("This picture could not be loaded.")
        page.get_by_role("button", name="Use as subject").click()
        expect(page.locator("#notice .fault")).to_contain_text("is missing from the data folder")
        page.get_by_role("button", name="Redraw").click()
        expect(page.locator("#chat .acts")).to_have_count(2)


def test_who_refuses_cookies_is_told_how_to_go_on(browser, tmp_path):
    with FakeServer("--pause", "0", "--data-dir", str(tmp_path), "--public") as server:
        page = browser.new_page()

        def strip(route) -> None:
            answer = route.fetch()
            page.context.clear_cookies()  # which the browser took from what was fetched
            route.fulfill(response=answer, headers={name: value for name, value in answer.headers.items() if name.lower() != "set-cookie"})

        page.route(server.url, strip)
        page.goto(server.url)
        expect(page.locator("#notice .fault")).to_contain_text("This page needs a cookie")
        expect(page.locator("#notice .outside")).to_be_hidden()
        page.route("**/frame.html", lambda route: route.fulfill(content_type="text/html", body=f'<iframe src="{server.url}" width="1200" height="800"></iframe>'))
        page.goto(server.url + "frame.html")
        link = page.frame_locator("iframe").locator("#notice .outside")
        expect(link).to_be_visible()
        with page.context.expect_page() as opened:
            link.click()
        assert opened.value.url == server.url
        page.close()


def test_words_sent_before_a_ready_subject_has_come_go_with_it(page):
    page.evaluate("""() => {
        const fetched = window.fetch, slow = (of) => /queue.join/.test(String(of?.url || of)) ? 500 : 0;
        window.fetch = (...given) => new Promise((go) => setTimeout(go, slow(given[0]))).then(() => fetched(...given));
    }""")
    page.locator("#stage .tile").first.click()
    say(page, "on the beach")
    expect(page.locator("#chat .acts")).to_have_count(1)
    expect(page.locator("#chat .photo img")).to_have_count(1)
    expect(page.locator("#chat .user-row .say")).to_have_text("on the beach")


def test_a_page_below_a_path(tab, tmp_path):
    with FakeServer("--pause", "0", "--data-dir", str(tmp_path), "--root-path", "/cafe") as server, proxied(server.url, "/cafe") as url:
        with watched(page := tab, f"{url}cafe/"):
            welcome(page, f"{url}cafe/")
            expect(page.locator("#stage .tile img").first).to_have_js_property("complete", True)
            page.locator("#steps input[type=number]").fill("5")
            add(page, "mine.jpg", jpeg(4))
            page.locator("#box .thumbnail-item img").wait_for()
            say(page, "on the beach")
            expect(page.locator("#chat .acts")).to_have_count(1)
            assert all(page.locator("#chat .picture img, #chat .photo img, #stage .tile img").evaluate_all("all => all.map(i => i.complete ? i.naturalWidth > 0 : true)"))
            with page.expect_download() as download:
                page.get_by_role("link", name="Download").first.click()
            assert "/cafe/pictures/" in download.value.url
            page.wait_for_timeout(300)
            page.reload()
            expect(page.locator("#chat .acts")).to_have_count(1)
