"""Equal answers have one canonical form; hostile answers neither crash nor hang."""

import math
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gcrm.stats.answers import canonical

SPELLINGS = r"""
18 ‖ 18.0 ‖ $18 ‖ \frac{36}{2} ‖ \$18.00 ‖ 18 dollars ‖ +18 ‖ 18. ‖ 18%
1,800 ‖ 1800 ‖ 1{,}800 ‖ 1800.0 ‖ $1,800
1/2 ‖ 0.5 ‖ .5 ‖ \frac12 ‖ \dfrac{1}{2} ‖ \\frac{1}{2} ‖ 0.50
x = 3 ‖ 3 ‖ (3) ‖ [3] ‖ ['3'] ‖ \boxed{3} ‖ 3^{1} ‖ 1 + 2 = 3
-\frac{7}{4} ‖ -7/4 ‖ \frac{-7}{4} ‖ −1.75
2\sqrt{3}+1 ‖ 1+2\sqrt3 ‖ 1 + 2\sqrt{3}
\frac{3\pi}{4} ‖ 3\pi/4 ‖ \frac{3}{4}\pi
12.999999999999998 ‖ 13
3, -2 ‖ -2, 3 ‖ -2 and 3 ‖ {-2, 3} ‖ ['3', '-2'] ‖ \{3, -2\}
(1, 2) ‖ (1,2.0) ‖ \left(1, 2\right) ‖ \bigl(1,2\bigr)
6\text{ cm} ‖ 6 ‖ 6\text{ cm}^2
90^\circ ‖ 90 ‖ 90°
1e-05 ‖ 0.00001
x + 1 ‖ 1 + x ‖ 1+x
ad-bc ‖ -bc + ad
\frac{\pi}{2} ‖ \pi/2
3 \times 10^8 ‖ 300000000 ‖ 3 \cdot 10^{8}
6r^2-4r-24 ‖ -24-4r+6r^2
Blue ‖ \text{blue} ‖ blue.
10000 ‖ 10,\!000 ‖ 10\,000 ‖ 10 000 ‖ 10{,}000
58500 ‖ 58,\!500
2.5 ‖ 2 1/2 ‖ 2\frac{1}{2} ‖ 2\ 1/2
C ‖ (C) ‖ \text{(C)} ‖ c
\begin{pmatrix} 1 \\ 2 \end{pmatrix} ‖ \begin{pmatrix}1\\2\end{pmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix} ‖ \begin{pmatrix} 1 \\  2\end{pmatrix}
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ‖ \begin{pmatrix}1&2\\3&4\end{pmatrix}
5 ‖ 5 red cars ‖ 5\ \text{apples} ‖ 5 kg
6\pi ‖ 6 \pi ‖ 6 pi
3000000 ‖ 3 million ‖ 3,000,000 ‖ 3 million dollars ‖ 3 \text{ million}
-1800000000 ‖ -1.8 billion ‖ -$1.8$ billion
60 ‖ 5 dozen ‖ 5 dozen eggs
200000 ‖ 2 hundred thousand
x^2 ‖ x² ‖ x^{2}
25 ‖ 5² ‖ 5^2
0.5 ‖ ½ ‖ 1/2
2.5 ‖ 2½ ‖ 2 ½
0.01 ‖ 10⁻² ‖ 10^-2 ‖ 10**-2
5 m ‖ 5 ‖ 5 L ‖ 5\text{ m} ‖ \text{5 cm} ‖ 5 h
-5 ‖ –5 ‖ ‑5 ‖ －5
18 ‖ 18€ ‖ €18 ‖ £18 ‖ USD 18 ‖ 18 USD
2516_8 ‖ 2516_{8} ‖ 2516₈
2, -2 ‖ \pm 2 ‖ ±2 ‖ x = \pm 2
1 + \sqrt{2}, 1 - \sqrt{2} ‖ 1 \pm \sqrt{2}
(-\infty,\frac12]\cup[2,\infty) ‖ (-\infty, 0.5] \cup [2, \infty) ‖ [2,∞)∪(-∞,1/2]
1000 ‖ (1,000)
\langle 1, 2\rangle ‖ \left\langle 1,2.0 \right\rangle ‖ ⟨1,2⟩
x=3, y=4 ‖ y = 4, x = 3 ‖ x = 3 and y = 4
5 ‖ 5 kg ‖ 5 ft ‖ 5 in ‖ 5 sq ft
26000 ‖ 1000(26)
31415.926536 ‖ \pi(100)^2
1.732051 ‖ 3^\frac{1}{2} ‖ \sqrt3 ‖ 3^\frac12
(2, \frac{1}{2}) ‖ (2, 0.5) ‖ ( 2 , 1/2 )
\begin{pmatrix} 1/2 & \sqrt8 \\ x & 1\end{pmatrix} ‖ \begin{bmatrix} 0.5&2\sqrt2 \\ x&1\end{bmatrix}
(\sqrt8, 1) ‖ (2\sqrt2, 1)
[\sqrt8, x) ‖ [2\sqrt2, x)
\{1, \sqrt8\} ‖ 2\sqrt{2} \text{ and } 1 ‖ √8, 1
0.5 ‖ \sin 30^\circ ‖ \sin{30^{\circ}} ‖ sin(30°) ‖ \cos 60 \text{ degrees} ‖ \sin\frac{\pi}{6}
0.5 ‖ \frac{\tan 45^\circ}{2} ‖ 1/\csc 30^\circ
0 ‖ \sin 180^\circ ‖ \cos 90^\circ ‖ \sqrt2\sqrt2 - 2 ‖ x - x
1/3 ‖ 0.\overline{3} ‖ 0.\bar3 ‖ 0.\dot{3} ‖ 0.(3) ‖ 0.333...
-1/6 ‖ -0.1\overline{6} ‖ -0.1666…
3/11 ‖ 0.\overline{27} ‖ 0.272727\ldots
2 ‖ \log_{10}100 ‖ \log_{10} (100) ‖ \log 100
3 ‖ \log_2 8 ‖ \log_{2}{8}
\ln 4 ‖ 2\ln 2 ‖ \ln{4} ‖ 1.3862943611
120 ‖ 5! ‖ (5)! ‖ \frac{6!}{3!}
10 ‖ \binom{5}{2} ‖ |{-10}| ‖ \lfloor 10.5\rfloor ‖ (10+10)/2
-2 ‖ \sqrt[3]{-8} ‖ (-8)^{1/3}
\pi/2 ‖ pi/2 ‖ \frac\pi2 ‖ π/2 ‖ \arcsin 1
5 ‖ 5 km/h ‖ 5 m/s^2 ‖ 5km ‖ 5 \text{ miles}/\text{hour} ‖ 5^\circ C
(1,2) and (3,4) ‖ (1,2), (3,4) ‖ (3,4),(1,2) ‖ \{(1, 2), (3, 4)\}
1,000, 2,000 ‖ 2000, 1000 ‖ 1,000 and 2,000
x - y = 0 ‖ -x + y = 0 ‖ 0 = y - x ‖ 0 = -(x - y)
x^2 + y^2 = 1 ‖ 1 = x^2 + y^2 ‖ x^2 + y^2 - 1 = 0
x > 3 ‖ 3 < x ‖ x - 3 > 0
2 < x < 3 ‖ 3 > x > 2
2(x+y) ‖ 2x+2y ‖ y+x+x+y
\frac{1}{2x} ‖ \frac12 x^{-1}
f(x) = 2x+1 ‖ 1+2x
30 ‖ \theta = 30^\circ ‖ x_1 = 30 ‖ \(30\) ‖ \[30\]
123 ‖ １２３
1500 ‖ 1.5 x 10^3 ‖ 1.5 × 10³ ‖ 1.5·10^3 ‖ 1.5*10**3 ‖ 1.5E3
3:4 ‖ 3 : 4 ‖ 3\colon4
5-10 ‖ 5 - 10 ‖ 5--10 ‖ 5–10 ‖ $5-$10 ‖ 5-10 years
\emptyset ‖ \varnothing ‖ ∅ ‖ \{\}
"""
"""a line for each answer"""
ODD_SPELLINGS = [
    ["18", " 18 "],
    ["5", "5, "],
    ["123", "12\u200b3", "\ufeff123", "123\xa0", "\u206012\xad3"],
]


@pytest.mark.parametrize(
    "spellings",
    [*(line.split(" ‖ ") for line in SPELLINGS.split("\n")[1:-1]), *ODD_SPELLINGS],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_answer_are_equal(spellings: list[str]) -> None:
    form = canonical(spellings[0])
    assert {canonical(answer) for answer in [*spellings, form]} == {form}


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
        ("3+4t", "7"),
        ("60t", "60"),
        ("2\\pi h", "2\\pi"),
        ("3 red and 5 blue", "5 red and 3 blue"),
        ("3 \\text{ red}, 5 \\text{ blue}", "5 \\text{ red}, 3 \\text{ blue}"),
        ("5 dollars and 20 cents", "20 dollars, 5 cents"),
        ("(A) 5", "5a"),
        ("(1,200)", "1200"),
        ("\\pm 2", "2"),
        ("[1,2]\\cup[3,4]", "[1,3]\\cup[2,4]"),
        ("1 = x^2", "2 = x^2"),
        ("x - y = 0", "x + y = 0"),
        ("x > 3", "x < 3"),
        ("x > 3", "x \\ge 3"),
        ("\\sin 30", "\\sin 30^\\circ"),
        ("\\tan 90^\\circ", "\\tan 270^\\circ"),
        ("\\log_2 8", "\\log_3 8"),
        ("3!!", "720"),
        ("100000!", "100001!"),
        ("2+3\\mathrm{i}", "5"),
        ("6, 6", "6"),
        ("0.\\overline{3}", "0.3"),
        ("5 hours 30 minutes", "5 hours 30 seconds"),
        ("5 March", "5 April"),
        ("5°30", "530"),
        ("5%10", "510"),
        ("x2", "2x"),
        ("\\frac{1}{x+y}", "\\frac{1}{x}+\\frac{1}{y}"),
        ("\\sin(x) y", "\\sin(xy)"),
        ("(\\sin x)^2", "\\sin(x^2)"),
        ("(x^2)^{0.5}", "x"),
    ],
)
def test_different_answers_differ(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


TEXTS = """
5-10 ‖ 1-2-3 ‖ -3-4 ‖ 3-1/2 ‖ 1/2-1/3 ‖ 12/25/2020 ‖ 2020-12-25 ‖ 25.12.2020 ‖ 3:30 ‖ 1.2.3
192.168.0.1 ‖ 555-1234 ‖ (555) 123-4567 ‖ +1 555 123 4567 ‖ 978-3-16-148410-0 ‖ 1-800-555-0199
h2o ‖ a4 ‖ 0x1f ‖ 3rd ‖ 25 dec 2020 ‖ (5-10, 3)
"""


@pytest.mark.parametrize("answer", re.split(" ‖ |\n", TEXTS.strip()))
def test_text_that_is_no_number_stays_text(answer: str) -> None:
    assert canonical(answer) == answer


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
        "100000!",
        "\\ln{10^{10^{10}}}",
        "\\sin{10^{400}}",
        "0." + "3" * 190 + "...",
        "9" * 4_000 + "." + "1234567890" * 4_000,
        "(1-" * 9 + "x" + ")" * 9 + "=0",
        "\\frac" * 40,
        "1-" * 99,
        "5 cm/" * 40,
        " 1" * 99 + " x",
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
    assert time.monotonic() - started < 2


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


def written(draw: st.DrawFn, value: Fraction) -> str:
    """One of the ways to write a rational number."""
    above, below = abs(value.numerator), value.denominator
    whole, rest = divmod(above, below)
    ways = [
        f"{above}/{below}",
        f"\\frac{{{above}}}{{{below}}}",
        f"\\dfrac{{{7 * above}}}{{{7 * below}}}",
        f"\\sqrt{{\\frac{{{above**2}}}{{{below**2}}}}}",
        f"{above} \\cdot {below}^{{-1}}",
        f"\\frac{{1}}{{{below}}} \\times {above}",
        f"({above}+{below})/{below} - 1",
        f"\\frac{{{2 * above}}}{{{below}}} \\cos 60^\\circ",
        f"\\log_{{10}}(10^{{{above}/{below}}})",
    ]
    if rest:
        ways += [f"{whole} {rest}/{below}", f"{whole}\\frac{{{rest}}}{{{below}}}"]
    if below in (1, 2, 4, 5):
        ways.append(str(above / below))
    if below in (3, 9):
        ways.append(f"{whole}.\\overline{{{rest * 9 // below}}}")
    text = draw(st.sampled_from(ways))
    if value < 0:
        text = f"-({text})"
    wrap = draw(st.sampled_from(["{}", "${}$", " {} ", "\\boxed{{{}}}", "x = {}", "\ufeff{}."]))
    return wrap.format(text)


@st.composite
def respelt(draw: st.DrawFn) -> tuple[Fraction, str]:
    value = Fraction(draw(st.integers(-60, 60)), draw(st.sampled_from([1, 2, 3, 4, 5, 7, 9, 12])))
    return value, written(draw, value)


@given(respelt(), respelt())
@example((Fraction(1), "1"), (Fraction(-1), "-(1)"))
@settings(max_examples=60, deadline=None)
def test_numbers_are_equal_exactly_if_their_values_are(one, other) -> None:
    """Values of small denominators are further apart than the rounding."""
    assert (canonical(one[1]) == canonical(other[1])) == (one[0] == other[0]), (one, other)


# Each expression in LaTeX and in Python.
_LEAVES = [("x", "x"), ("y", "y"), ("2", "2"), ("\\frac12", "0.5"), ("\\sqrt8", "8**0.5")]
_FORMS = [
    ("({}+{})", "({}+{})"),
    ("({}-{})", "({}-{})"),
    ("({} \\cdot {})", "({}*{})"),
    ("\\frac{{{}}}{{{}}}", "(({})/({}))"),
]
_EXPRESSIONS = st.recursive(
    st.sampled_from(_LEAVES),
    lambda inner: st.one_of(
        st.builds(
            lambda form, a, b: (form[0].format(a[0], b[0]), form[1].format(a[1], b[1])),
            st.sampled_from(_FORMS),
            inner,
            inner,
        ),
        inner.map(lambda a: (f"({a[0]})^2", f"(({a[1]})**2)")),
        inner.map(lambda a: (f"\\cos({a[0]})", f"cos({a[1]})")),
    ),
    max_leaves=4,
)


@given(_EXPRESSIONS, _EXPRESSIONS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_one_form_means_one_value(one, other, turned) -> None:
    """Equal forms have equal values at two points; sums and products may be turned round."""
    if turned:
        other = (f"{one[0]}+{other[0]}", f"({one[1]})+({other[1]})")
        one = (f"{other[0].removeprefix(one[0])[1:]}+{one[0]}", other[1])
        assert canonical(one[0]) == canonical(other[0])
    forms = [canonical(expression[0]) for expression in (one, other)]
    if forms[0] == forms[1]:
        for x, y in [(0.7, -1.3), (2.1, 0.4)]:
            with suppress(ZeroDivisionError):
                first, second = (
                    eval(expression[1], {"x": x, "y": y, "cos": math.cos})
                    for expression in (one, other)
                )
                assert first == pytest.approx(second, rel=1e-4, abs=1e-5)


_WRITINGS = st.one_of(
    respelt().map(lambda pair: pair[1]),
    st.text(alphabet="0123456789.,+-*/^(){}[] \\$%=xe:°", max_size=15),
    st.text(alphabet="abxkm ,./:'", max_size=12),
    st.lists(respelt().map(lambda pair: pair[1]), min_size=2, max_size=3).map(", ".join),
)


@given(_WRITINGS)
@settings(max_examples=60, deadline=None)
def test_a_canonical_form_is_its_own(text: str) -> None:
    found = canonical(text)
    assert found is None or canonical(found) == found
