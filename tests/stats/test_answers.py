"""Equal answers have one canonical form; hostile answers neither crash nor hang."""

import subprocess
import sys
import threading
import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gcrm.stats.answers import canonical


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "18",
            "18.0",
            "$18",
            "\\frac{36}{2}",
            " 18 ",
            "\\$18.00",
            "18 dollars",
            "+18",
            "18.",
            "18%",
        ],
        ["1,800", "1800", "1{,}800", "1800.0", "$1,800"],
        ["1/2", "0.5", ".5", "\\frac12", "\\dfrac{1}{2}", "\\\\frac{1}{2}", "0.50"],
        ["x = 3", "3", "(3)", "[3]", "['3']", "\\boxed{3}", "3^{1}", "1 + 2 = 3"],
        ["-\\frac{7}{4}", "-7/4", "\\frac{-7}{4}", "−1.75"],
        ["2\\sqrt{3}+1", "1+2\\sqrt3", "1 + 2\\sqrt{3}"],
        ["\\frac{3\\pi}{4}", "3\\pi/4", "\\frac{3}{4}\\pi"],
        ["12.999999999999998", "13"],
        ["3, -2", "-2, 3", "-2 and 3", "{-2, 3}", "['3', '-2']", "\\{3, -2\\}"],
        ["(1, 2)", "(1,2.0)", "\\left(1, 2\\right)"],
        ["6\\text{ cm}", "6", "6\\text{ cm}^2"],
        ["90^\\circ", "90", "90°"],
        ["1e-05", "0.00001"],
        ["x + 1", "1 + x", "1+x"],
        ["ad-bc", "-bc + ad"],
        ["\\frac{\\pi}{2}", "\\pi/2"],
        ["3 \\times 10^8", "300000000", "3 \\cdot 10^{8}"],
        ["6r^2-4r-24", "-24-4r+6r^2"],
        ["Blue", "\\text{blue}", "blue."],
        ["10000", "10,\\!000", "10\\,000", "10 000", "10{,}000"],
        ["58500", "58,\\!500"],
        ["2.5", "2 1/2", "2\\frac{1}{2}", "2\\ 1/2"],
        ["C", "(C)", "\\text{(C)}", "c"],
        [
            "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
            "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
            "\\begin{pmatrix} 1 \\\\  2\\end{pmatrix}",
        ],
        [
            "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
            "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
        ],
        ["5", "5 red cars", "5\\ \\text{apples}", "5 kg"],
        ["6\\pi", "6 \\pi", "6 pi"],
        ["3000000", "3 million", "3,000,000", "3 million dollars", "3 \\text{ million}"],
        ["-1800000000", "-1.8 billion", "-$1.8$ billion"],
        ["60", "5 dozen", "5 dozen eggs"],
        ["200000", "2 hundred thousand"],
        ["x^2", "x²", "x^{2}"],
        ["25", "5²", "5^2"],
        ["0.5", "½", "1/2"],
        ["2.5", "2½", "2 ½"],
        ["0.01", "10⁻²"],
        ["-5", "–5", "‑5", "\uff0d5"],
        ["18", "18€", "€18", "£18", "USD 18", "18 USD"],
        ["2516_8", "2516_{8}", "2516₈"],
        ["2, -2", "\\pm 2", "±2", "x = \\pm 2"],
        ["1 + \\sqrt{2}, 1 - \\sqrt{2}", "1 \\pm \\sqrt{2}"],
        [
            "(-\\infty,\\frac12]\\cup[2,\\infty)",
            "(-\\infty, 0.5] \\cup [2, \\infty)",
            "[2,∞)∪(-∞,1/2]",
        ],
        ["1000", "(1,000)"],
        ["x=3, y=4", "y = 4, x = 3", "x = 3 and y = 4"],
        ["5", "5 kg", "5 ft", "5 in", "5 sq ft"],
        ["26000", "1000(26)"],  # no mixed number
        ["31415.926536", "\\pi(100)^2"],  # no function
        ["1.732051", "3^\\frac{1}{2}", "\\sqrt3", "3^\\frac12"],
        ["(2, \\frac{1}{2})", "(2, 0.5)", "( 2 , 1/2 )"],
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_answer_are_equal(spellings: list[str]) -> None:
    assert {canonical(answer) for answer in spellings} == {canonical(spellings[0])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18", "19"),
        ("2^3^2", "64"),
        ("x^\\frac{1}{2}", "\\frac{1}{2}"),
        ("18", "-18"),
        ("1,2", "1.2"),
        ("(1, 2)", "(2, 1)"),
        ("(1, 2)", "[1, 2]"),
        ("5", "5x"),
        ("3:30", "0.1"),
        ("hello world", "world hello"),  # not a product of letters
        ("listen", "silent"),
        ("0.0000001", "0.0000002"),
        ("18", "18 + x"),
        ("2^{5000}", "2^{5001}"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 0 \\\\ 3 \\end{pmatrix}"),
        (
            "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
            "\\begin{pmatrix} 1 & 5 & 4 \\end{pmatrix}",
        ),
        ("x^2 + 3 xy", "x^2 + 3"),
        ("2 pi", "2"),
        ("10 000", "0"),
        ("12 34", "408"),
        ("(C)", "(D)"),
        ("3 million", "3"),
        ("3 million", "3 billion"),
        ("2 thirds", "2"),
        ("5 squared", "5"),
        ("4 times pi", "4"),
        ("20% loss", "20% gain"),
        ("10 percent increase", "10 percent decrease"),
        ("3 north", "3 south"),
        ("10 am", "10 pm"),
        ("3:30 am", "3:30 pm"),
        ("4 at most", "4 at least"),
        ("7 mn", "7 pq"),
        ("3 mn", "3"),
        ("5²", "52"),
        ("10₂", "102"),
        ("x²", "2x"),
        ("x=3, y=4", "x=4, y=3"),
        ("3 ft 2 in", "2 ft 3 in"),
        ("5'4", "54"),
        ("(1,200)", "1200"),
        ("\\pm 2", "2"),
        ("[1,2]\\cup[3,4]", "[1,3]\\cup[2,4]"),
    ],
)
def test_different_answers_differ(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("answer", [None, "", "   ", "\n\t", "."])
def test_no_answer_is_none(answer: str | None) -> None:
    assert canonical(answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        "(" * 100 + "x" + ")" * 99,
        "x^{" * 49 + "2" + "}" * 49,
        "9**9**9**9",
        "10^{10^{10}}x",
        "x^x^x^x^x^x^x^x^x^x",
        "\\sum_{n=1}^{10^{99}} n!",
        "99999999! x",
        "\\frac{1}{0}",
        "0^{-1}",
        "\\sqrt[0]{5}",
        "1e999",
        "9" * 5_000,
        "word " * 10_000,
        "\ud800",
        "\x00",
        "\\frac",
        "{",
        "[,]",
        "<s>package com.example",
    ],
    ids=lambda answer: answer[:20].encode("ascii", "replace").decode(),
)
def test_hostile_answers_take_at_most_seconds(answer: str) -> None:
    started = time.monotonic()
    canonical(answer)
    assert time.monotonic() - started < 5


def test_algebra_works_outside_the_main_thread() -> None:
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(canonical("y + 7 z^2")))
    thread.start()
    thread.join()
    assert found == [canonical("7z^2 + y")]


def test_missing_math_verify_is_an_error_where_it_is_needed(monkeypatch) -> None:
    canonical.cache_clear()
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(ImportError):
        canonical("y + 7 z^2")
    assert canonical("7") == "7"


def test_plain_numbers_do_not_import_sympy() -> None:
    code = (
        "import sys; from gcrm.stats.answers import canonical; canonical('1,800'); "
        "canonical('\\\\frac{36}{2}'); canonical('hello'); sys.exit('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@given(st.text(alphabet=st.characters(), max_size=60))
@example("1e400")
@settings(max_examples=150)
def test_canonical_form_of_any_text_ignores_outer_spaces(text: str) -> None:
    found = canonical(text)
    assert found is None or isinstance(found, str)
    assert canonical(" " + text + " ") == found


@given(st.text(alphabet="0123456789.,+-*/^(){}[] \\$%=xe", max_size=25))
@settings(max_examples=150)
def test_any_mathematical_text_has_a_canonical_form(text: str) -> None:
    canonical(text)


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**4))
@settings(max_examples=200)
def test_fractions_agree_with_exact_arithmetic(numerator: int, denominator: int) -> None:
    value = Fraction(numerator, denominator)
    found = canonical(f"\\frac{{{numerator}}}{{{denominator}}}")
    assert found == canonical(f"{numerator}/{denominator}")
    assert found is not None
    assert abs(Fraction(found) - value) <= Fraction(1, 2 * 10**6)
    if value.denominator == 1:
        assert found == str(value.numerator) == canonical(f"{value.numerator:,}")
