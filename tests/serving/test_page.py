"""The page at / in a real browser: scores as a reader types."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from gcrm import RewardModel
from helpers.browser import chromium, errors
from helpers.server import in_thread

QUESTION = "Tom has 3 apples. He buys 4 more; how many has he now?"
SOLUTIONS = ["3 + 4 = 7, so Tom has 7 apples.", "The answer is 8 😀"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as window:
        yield window


@pytest.fixture
def window(browser: Any) -> Any:
    browser.get("about:blank")
    errors(browser)  # those of the last test
    return browser


def until(window: Any, found: Any) -> Any:
    return WebDriverWait(window, 20).until(lambda _: found())


def fill(window: Any, question: str, solutions: list[str]) -> None:
    window.find_element(By.ID, "question").send_keys(question)
    areas = window.find_elements(By.CSS_SELECTOR, "#solutions textarea")
    for area, solution in zip(areas, solutions, strict=False):
        # The driver types no letters beyond the first plane.
        area.send_keys("".join(letter for letter in solution if ord(letter) < 0x10000))


def tokens(window: Any) -> list[list[str]]:
    script = """return [...document.querySelectorAll(".tokens")].map(
        (one) => [...one.querySelectorAll("span:not(.eos)")].map((span) => span.textContent))"""
    found: list[list[str]] = window.execute_script(script)
    return found


def rewards(window: Any) -> list[str]:
    return [one.text for one in window.find_elements(By.CSS_SELECTOR, ".reward")]


def test_tokens_are_coloured_by_q_value_as_they_are_typed(
    server: str, model: RewardModel, window: Any
) -> None:
    window.get(server)
    typed = [SOLUTIONS[0], "The answer is 8 "]
    fill(window, QUESTION, typed)
    until(window, lambda: ["".join(one) for one in tokens(window)] == typed)
    scores = model.score(QUESTION, typed)
    assert rewards(window) == [f"reward {reward:.3f}" for reward in scores.reward]
    assert scores.q_values is not None
    low, high = scores.q_values.values.min(), scores.q_values.values.max()
    assert window.find_element(By.ID, "low").text == f"{low:.3f}"
    assert window.find_element(By.ID, "high").text == f"{high:.3f}"
    spans = window.find_elements(By.CSS_SELECTOR, ".tokens")[0].find_elements(By.TAG_NAME, "span")
    for span, value in zip(spans, scores.q_values[0], strict=True):
        share = window.execute_script("return arguments[0].style.getPropertyValue('--share')", span)
        assert float(share) == pytest.approx((value - low) / (high - low), abs=1e-3)
        assert span.get_dom_attribute("title").startswith(f"Q-value {value:.3f}, reward so far ")
    colours = {span.value_of_css_property("background-color") for span in spans}
    assert len(colours) > 3
    assert errors(window) == []


def test_partial_rewards_on_request(server: str, model: RewardModel, window: Any) -> None:
    window.get(server)
    fill(window, QUESTION, SOLUTIONS[:1])
    until(window, lambda: rewards(window)[0])
    window.find_element(By.CSS_SELECTOR, "input[value=partial_rewards]").click()
    values = model.score(QUESTION, [SOLUTIONS[0], ""]).partial_rewards.values
    until(window, lambda: window.find_element(By.ID, "low").text == f"{values.min():.3f}")
    assert window.find_element(By.ID, "unit").text == "reward so far"


def test_solutions_come_and_go(server: str, window: Any) -> None:
    window.get(server)
    fill(window, QUESTION, ["1", "2"])
    window.find_element(By.ID, "add").click()
    assert window.switch_to.active_element.tag_name == "textarea"
    window.switch_to.active_element.send_keys("3")
    until(window, lambda: ["".join(one) for one in tokens(window)] == ["1", "2", "3"])
    for _ in range(2):
        window.find_element(By.CSS_SELECTOR, "section button").click()
    until(window, lambda: ["".join(one) for one in tokens(window)] == ["3"])
    labels = [one.text for one in window.find_elements(By.CSS_SELECTOR, "section label")]
    assert labels == ["Solution 1"]


def test_text_is_text(server: str, window: Any) -> None:
    window.get(server)
    solution = "<img src=x onerror=alert(1)> <b>7</b>"
    fill(window, QUESTION, [solution])
    until(window, lambda: "".join(tokens(window)[0]) == solution)
    assert not window.find_elements(By.CSS_SELECTOR, ".tokens img, .tokens b")
    assert errors(window) == []


def test_a_mistake_is_told(server: str, window: Any) -> None:
    window.get(server)
    fill(window, "a " * 600, ["7"])
    problem = window.find_element(By.ID, "problem")
    until(window, lambda: "leaves no room for a completion" in problem.text)


def test_a_model_without_goal_state_is_coloured_by_rewards(model: RewardModel, window: Any) -> None:
    plain = RewardModel(model.model, model.tokenizer, None, 512)
    with in_thread(plain) as address:
        window.get(address)
        fill(window, QUESTION, SOLUTIONS[:1])
        until(window, lambda: "".join(tokens(window)[0]) == SOLUTIONS[0])
        assert window.find_element(By.ID, "unit").text == "reward so far"
        assert not window.find_element(By.ID, "kinds").is_displayed()
        assert errors(window) == []


def test_a_locked_server_asks_for_the_token(model: RewardModel, window: Any) -> None:
    with in_thread(model, token="0123456789abcdef") as address:
        window.get(address)
        field = until(window, lambda: window.find_element(By.ID, "token"))
        until(window, field.is_displayed)
        fill(window, QUESTION, ["7"])
        field.send_keys("0123456789abcdef\t")
        until(window, lambda: "reward" in rewards(window)[0])
        assert not field.is_displayed()
        window.get("about:blank")  # it keeps no connection open


def test_the_page_is_one_file_that_loads_nothing(server: str) -> None:
    response = requests.get(server, timeout=30)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", response.text)
    assert "@import" not in response.text and "url(" not in response.text


def test_the_page_can_be_used_without_eyes_or_mouse(server: str, window: Any) -> None:
    """Each field has a label, the numbers are in a table, and colours keep their contrast."""
    window.get(server)
    fill(window, QUESTION, SOLUTIONS[:1])
    until(window, lambda: rewards(window)[0])
    unnamed = """return [...document.querySelectorAll("textarea, input, button")].filter(
        (one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length"""
    assert window.execute_script(unnamed) == 0
    rows = window.execute_script(
        "return [...document.querySelectorAll('tbody')][0].rows[0].cells.length"
    )
    assert rows == 3
    for scheme in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        for name in ("--low", "--high", "--panel", "--ground"):
            ratio = contrast(colour(window, "--text"), colour(window, name))
            assert ratio >= 4.5, (scheme, name, ratio)
        assert contrast(colour(window, "--error"), colour(window, "--ground")) >= 4.5
        assert contrast(colour(window, "--faint"), colour(window, "--ground")) >= 4.5
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def colour(window: Any, name: str) -> list[float]:
    """Red, green and blue of a colour of the page, 0 to 255."""
    script = """const probe = document.createElement("i");
        probe.style.color = `var(${arguments[0]})`;
        document.body.append(probe);
        const found = getComputedStyle(probe).color;
        probe.remove();
        return found;"""
    found: list[float] = json.loads(
        "[" + ",".join(re.findall(r"[\d.]+", window.execute_script(script, name))[:3]) + "]"
    )
    return found


def contrast(one: list[float], other: list[float]) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""

    def luminance(colour: list[float]) -> float:
        shares = [value / 255 for value in colour]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
