"""A login in a real browser: what the user sees, and that no request leaves this machine."""

from __future__ import annotations

from contextlib import contextmanager

import logins
import pytest
from accessibility import check, watched_page
from logins import APP, Login, decide, kept, visit
from playwright.sync_api import Error

from target_outreach.sandbox import App, Profile, Sandbox

#: A page of this machine has no host.
LOOPBACK = {"127.0.0.1", "localhost"}
SCREENS = {"phone": (320, 568), "desktop": (1280, 800)}

# The colours of a page that sets none of its own are those of the browser's scheme.
CONTRAST = """() => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.backgroundColor = "Canvas";
    const light = colour => {
        const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
            .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
        return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
    };
    const canvas = light(getComputedStyle(probe).backgroundColor);
    probe.remove();
    const texts = [...document.querySelectorAll("h1, p, li, code")]
        .map(element => light(getComputedStyle(element).color));
    return {
        canvas,
        worst: Math.min(...texts.map(text =>
            (Math.max(text, canvas) + .05) / (Math.min(text, canvas) + .05))),
        smallest: Math.min(...[...document.querySelectorAll("h1, p, li, code, button")]
            .map(element => parseFloat(getComputedStyle(element).fontSize))),
    };
}"""


@pytest.fixture
def sandbox(tmp_path, watcher):
    with Sandbox(tmp_path / "outreach.db", Profile(apps=[APP]), observer=watcher) as running:
        yield running


@pytest.fixture
def config(sandbox, tmp_path):
    with logins.free_port() as port:
        yield logins.oauth_config(sandbox, tmp_path, port)


@pytest.fixture
def login(tmp_path, config):
    started = []

    def start(**settings):
        folder = tmp_path / f"login-{len(started)}"
        folder.mkdir()
        started.append(Login(folder, config | settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def open_page(browser):
    """Open pages of which no request leaves this machine, and none of which complains."""

    @contextmanager
    def _open(address, **options):
        # As a user who goes on past the warning of a certificate that no authority issued.
        with watched_page(browser, ignore_https_errors=True, **options) as seen:
            seen.page.goto(address)
            yield seen.page
        assert seen.hosts <= LOOPBACK
        # That a page was answered with another status than 200 is said on the console.
        complaints = [text for text in seen.complaints if "Failed to load resource" not in text]
        assert complaints == []

    return _open


def press(page, button, heading):
    page.get_by_role("button", name=button).click()
    page.get_by_role("heading", name=heading, exact=True).wait_for()


def check_looks(page, scheme):
    """Nothing sticks out at the side, and all can be read."""
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    seen = page.evaluate(CONTRAST)
    assert (seen["canvas"] < 0.1) is (scheme == "dark")
    assert seen["worst"] >= 7  # WCAG 2.2, 1.4.6
    assert seen["smallest"] >= 13


def test_who_authorizes_the_app_sees_that_it_worked(open_page, login, config):
    running = login()
    with open_page(running.page()) as page:  # what a browser is given is only the way there
        page.get_by_role("heading", name=f"{APP.name} asks for access").wait_for()
        assert page.title() == f"{APP.name} asks for access"
        press(page, "Authorize", "Logged in")
        assert "You can close this page." in page.locator("main").inner_text()
        assert page.title() == "Logged in"
    code, out, _ = running.end()
    assert code == 0
    assert "Logged in." in out
    assert len(kept(config)) == 1


def test_all_that_a_browser_has_against_the_certificate_is_that_no_authority_issued_it(
    browser, login, config
):
    running = login()
    led_to = decide(running.opened(), "authorize")
    context = browser.new_context()
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        context.new_page().goto(led_to)
    context.close()
    assert kept(config) == {}
    assert visit(led_to)[:2] == (200, "Logged in")  # once the user goes on
    assert running.end()[0] == 0


def test_who_denies_sees_that_nothing_is_kept(open_page, login, config):
    running = login()
    with open_page(running.opened()) as page:
        press(page, "Deny", "Not logged in")
        assert "nothing is kept" in page.locator("main").inner_text()
    assert running.end()[0] == 1
    assert kept(config) == {}


def test_a_page_of_an_earlier_login_does_not_count_for_a_later_one(open_page, login, sandbox):
    earlier = login()
    with open_page(earlier.opened()) as old_page:
        earlier.close()
        later = login()
        address = later.opened()
        press(old_page, "Authorize", "Not this login")
        assert sandbox.token_requests == []
        with open_page(address) as page:
            press(page, "Authorize", "Logged in")
    assert later.end()[0] == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_the_pages_can_be_read_on_every_screen(open_page, login, sandbox, scheme, screen):
    long_name = App(APP.client_id, APP.client_secret, name=f"Warehouse{'OfTheNorth' * 8}")
    sandbox.profile = Profile(apps=[long_name])
    width, height = SCREENS[screen]
    running = login()
    with open_page(
        running.opened(), color_scheme=scheme, viewport={"width": width, "height": height}
    ) as page:
        check_looks(page, scheme)
        check(page)
        who = page.locator(".who").inner_text()
        assert "Ada Byron (ada@example.com) in the organisation Sandbox" in who
        assert "Prospects: create and change" in page.locator("ul").inner_text()
        for each in page.get_by_role("button").all():
            box = each.bounding_box()
            assert box["height"] >= 24  # WCAG 2.2, 2.5.8
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        press(page, "Authorize", "Logged in")
        check_looks(page, scheme)
    assert running.end()[0] == 0


def test_the_keyboard_is_enough(open_page, login):
    running = login()
    with open_page(running.opened()) as page:
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Authorize"
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Logged in", exact=True).wait_for()
    assert running.end()[0] == 0
