"""What the report says: report.md and its sections, one function each."""

from collections.abc import Callable
from dataclasses import dataclass

from gcrm.config.report import ReportOptions
from gcrm.reporting.cells import ABOVE_LENGTH, half_table, seeds_table
from gcrm.reporting.comparison_tables import seeds_table as differences_of_seeds
from gcrm.reporting.comparison_tables import seeds_text
from gcrm.reporting.contents import SOLUTIONS, Part, figure_files, labels, table_files, tables
from gcrm.reporting.data import data_text
from gcrm.reporting.formats import markdown
from gcrm.reporting.preference_tables import details_table
from gcrm.reporting.results import Results
from gcrm.reporting.tables import TABLES, Numbers
from gcrm.stats.seeds import ENOUGH

SYNTHETIC = (
    "The benchmarks of this run are **synthetic stand-ins** that carry the names of the real ones: "
    "its numbers say that the pipeline works, and nothing about the real benchmarks."
)
AUROC_TEXT = (
    "AUROC of the final reward on one greedy solution a problem, with 95 % intervals (bootstrap "
    "over problems). *Length alone* scores a solution by minus its number of tokens: a reward "
    "model that does not beat it has learnt nothing. Below 0.5, longer solutions are right more "
    "often."
)
DIFFERENCES_TEXT = (
    "Variant minus baseline on the same completions, with 95 % intervals (paired bootstrap) and p "
    "(two-sided, corrected over benchmarks by Holm's method). {seeds}"
)
PARTIAL_TEXT = (
    "AUROC of what is known after a share of a solution's tokens: the reward so far (first figure) "
    "and the Q-value (second). A vanilla model's Q-values are a control, since nothing trains them."
    " *Length alone* takes the shorter whole solution for the better one, and nobody knows it "
    "before its end."
)
HALF_TEXT = "After half of the tokens, with 95 % intervals:"
CORRELATION_TEXT = (
    "Pearson correlation of Q-value and partial reward after a share of the tokens, with 95 % "
    "intervals. Where it is near 1, Q-values say what rewards say."
)
COURSE_TEXT = (
    "Mean Q-value at each place of the right and of the wrong solutions, with 95 % intervals over "
    "problems, and over seeds where there are several: each seed has a level of its own, which "
    "both lines share, so that lines can part though bands overlap. Where they part, Q-values tell "
    "right from wrong. The last token is left out (the end token, but for `parity: official`): its "
    "state is of the goal's own kind, and its Q-value has another level than those before it."
)
REWARDS_TEXT = (
    "Rewards of right and wrong solutions. A reward model is trained on differences only: its mean "
    "over all benchmarks is taken off. Right and wrong solutions have the same area, however many "
    "there are, and heights have a scale of their own in each panel. The outermost bins hold what "
    "lies beyond."
)
VOTES_TEXT = (
    "% of problems right, with 95 % intervals; ties count in parts. *Q-filtered* drops the samples "
    "whose smallest Q-value is below {threshold}; *chosen t* is a threshold chosen on one half of "
    "the problems and reported on the other, both ways."
)
FILTER_TEXT = (
    "What a filter changes: votes right minus those of the majority of all samples, with p "
    "(two-sided, over problems{seeds}, corrected over benchmarks by Holm's method); and what it "
    "spares. A threshold is chosen so that nothing is lost on the problems it is chosen on; on the "
    "others, something may be. *Length alone* is the control that drops the longest samples."
)
CURVE_TEXT = (
    "Accuracy against tokens saved as the threshold rises. Where the line turns back (thin), whole "
    "problems are exempt, since none of their samples would be left.{seeds}"
)
OFFICIAL_TEXT = (
    "All correct samples are one answer and win ties, null answers and the greedy solution vote, "
    "the token at which a sample crosses the threshold is saved, too, and the first tokens, which "
    "the filter skips, count nowhere. Most of these numbers are higher by construction: compare "
    "them only with numbers that are counted the same way."
)
VARIANTS_TEXT = (
    "Means over benchmarks{groups}, whose problems count as independent; correlations of Q-values "
    "with partial rewards; votes in %."
)
PREFERENCE_TEXT = (
    "% of held-out pairs in which the chosen side has the higher reward, equal rewards at a half, "
    "with 95 % intervals (bootstrap over prompts). *Shorter is better* takes the side of fewer "
    "tokens for the chosen one: below 50, longer answers are preferred."
)
PREFERENCE_DIFFERENCES_TEXT = (
    "Variant minus baseline on the same pairs, in % of pairs, with 95 % intervals (paired "
    "bootstrap over prompts) and p (two-sided, corrected over held-out sets by Holm's method). "
    "{seeds}"
)
DETAILS_TEXT = (
    "*Q-value*: % of pairs in which the Q-value of the last token is higher on the chosen side. "
    "*Margin*: mean reward of the chosen side minus that of the rejected one. *Cut off*: pairs "
    "with a side that lost its end, *left out*: pairs whose prompt leaves no room for an answer."
)
TRAINING_TEXT = "Means over the pairs of the steps since the last point; thin lines are seeds."
SOLUTIONS_TEXT = (
    "[A page of solutions, right and wrong, with their tokens coloured by Q-value]"
    "({page}): the first of each benchmark by hash of their question."
)


@dataclass(frozen=True)
class Content:
    """What there is to tell: the options and numbers, and which figures and pages were made."""

    options: ReportOptions
    label: str
    numbers: Numbers
    figures: list[Part]
    solutions: bool

    @property
    def results(self) -> Results:
        """The metrics of benchmarks."""
        return self.numbers.results

    def table(self, kind: str) -> str:
        """A table of a kind, in Markdown."""
        return markdown(TABLES[kind].cells(self.numbers), TABLES[kind].texts)

    @property
    def title(self) -> str:
        """Heading of the report."""
        return f"{self.options.title}: {self.label}"

    @property
    def threshold(self) -> str:
        """The fixed threshold of the filter."""
        return " or ".join(f"{each:g}" for each in self.results.settings("filter_threshold"))

    def images(self, kind: str) -> list[str]:
        """The figures of a kind, for Markdown."""
        return [
            f"![{part.category}: {', '.join(labels(part, '').values())}]({figure_files(part)[0]})"
            for part in self.figures
            if part.kind == kind
        ]

    def seed_counts(self) -> str | None:
        """How many seeds each variant has, and what that is worth; None for one seed each."""
        source = self.results if self.results.variants else self.numbers.heldout
        counts = {name: len(source.seeds(name)) for name in source.variants}
        if not counts or max(counts.values()) < 2:
            return None
        told = f"{min(counts.values())} seeds"
        if min(counts.values()) < max(counts.values()):
            told = "seeds (" + ", ".join(f"{name}: {n}" for name, n in counts.items()) + ")"
        text = f"Averages over {told}; the intervals take in problems and seeds."
        if min(counts.values()) < ENOUGH:
            text += f" Fewer than {ENOUGH} seeds say little about other seeds."
        return text


def auroc_section(content: Content) -> list[str]:
    """AUROC of whole solutions, and of every seed."""
    results = content.results
    if not results.benchmarks:
        return []
    parts = ["## Reward against correctness (AUROC)", AUROC_TEXT, content.table("auroc")]
    parts += [f"\\{ABOVE_LENGTH}.", *content.images("auroc"), *reasons(results)]
    if seeds := content.seed_counts():
        parts += ["### Every seed", seeds, markdown(seeds_table(results), texts=2)]
    return parts


def reasons(results: Results) -> list[str]:
    """Why a benchmark has no AUROC, once for each."""
    found = []
    for benchmark in results.benchmarks:
        estimate = results.any_variant(benchmark, "auroc", "reward")
        if estimate and estimate.get("reason"):
            found.append(f"{benchmark}: no AUROC: {estimate['reason']}.")
    return found


def differences_section(content: Content) -> list[str]:
    """Which variant is better, and by how much."""
    comparisons = content.results.comparisons
    if not comparisons.pairs():
        return []
    parts = ["## Differences of variants", DIFFERENCES_TEXT.format(seeds=seeds_text(comparisons))]
    parts += ["AUROC:", content.table("differences")]
    if content.numbers.scope.sampled:
        parts += ["Votes and tokens saved, in %:", content.table("vote_differences")]
    seeds = differences_of_seeds(comparisons)
    if len(seeds) > 1:
        parts += ["AUROC of the reward, each seed:", markdown(seeds, texts=3)]
    return parts


def partial_section(content: Content) -> list[str]:
    """What is known before the end of a solution."""
    if not content.results.benchmarks:
        return []
    parts = ["## Partial solutions", PARTIAL_TEXT, *content.images("partial_auroc")]
    half = half_table(content.results)
    if len(half) > 1:
        parts += [HALF_TEXT, markdown(half, texts=2), f"\\{ABOVE_LENGTH}."]
    return [*parts, CORRELATION_TEXT, content.table("correlation")]


def course_section(content: Content) -> list[str]:
    """Q-values over the course of solutions, and on single ones."""
    images = content.images("q_values")
    if not images:
        return []
    parts = ["## Q-values over the course of a solution", COURSE_TEXT, *images]
    return parts + ([SOLUTIONS_TEXT.format(page=SOLUTIONS)] if content.solutions else [])


def rewards_section(content: Content) -> list[str]:
    """How rewards are distributed."""
    images = content.images("rewards")
    return ["## Rewards of right and wrong solutions", REWARDS_TEXT, *images] if images else []


def votes_section(content: Content) -> list[str]:
    """Votes with and without the filter."""
    results = content.results
    if not results.sampled():
        return []
    parts = ["## Votes over samples", VOTES_TEXT.format(threshold=content.threshold)]
    several = content.seed_counts() is not None
    filter_text = FILTER_TEXT.format(seeds=" and seeds" * several)
    curve_text = CURVE_TEXT.format(seeds=" Each seed has a line; markers are means." * several)
    parts += [content.table("votes"), filter_text, content.table("filter")]
    parts += [curve_text, *content.images("votes")]
    return [*parts, "### As the authors count", OFFICIAL_TEXT, content.table("official_votes")]


def variants_section(content: Content) -> list[str]:
    """Variants side by side: the ablation table."""
    if not content.results.benchmarks:
        return []
    inside = ", ".join(content.options.in_distribution)
    groups = f" (in distribution: {inside})" if inside else ""
    text = VARIANTS_TEXT.format(groups=groups)
    return ["## Variants side by side", text, content.table("variants")]


def preferences_section(content: Content) -> list[str]:
    """Which side of held-out preference pairs has the higher reward."""
    heldout = content.numbers.heldout
    if not heldout.benchmarks:
        return []
    parts = ["## Preference accuracy", PREFERENCE_TEXT, content.table("preferences")]
    parts += [f"\\{ABOVE_LENGTH}.", *content.images("preferences"), DETAILS_TEXT]
    parts.append(markdown(details_table(heldout), texts=2))
    if heldout.comparisons.pairs():
        text = PREFERENCE_DIFFERENCES_TEXT.format(seeds=seeds_text(heldout.comparisons))
        parts += ["### Differences in preference accuracy", text]
        parts.append(content.table("preference_differences"))
    return parts


def published_section(content: Content) -> list[str]:
    """What others have measured with the same base model."""
    published = content.numbers.published
    parts = []
    if sources := published.sources():
        parts.append(f"Columns marked as published are from {'; '.join(sources)}.")
    if claims := published.claims():
        parts.append("\n".join(["In words:", "", *(f"- {claim}" for claim in claims)]))
    return ["## Published for this base model", *parts] if parts else []


def training_section(content: Content) -> list[str]:
    """How training went."""
    images = content.images("training")
    return ["## Training", TRAINING_TEXT, *images] if images else []


def data_section(content: Content) -> list[str]:
    """What `prepare` found in the data."""
    path = content.options.data_report
    return [] if path is None else ["## Data", data_text(path)]


def files_section(content: Content) -> list[str]:
    """Where the tables are as files."""
    rows = [["table", "files"]]
    for part in tables(content.numbers.scope):
        files = [f"[{name.rpartition('.')[2]}]({name})" for name in table_files(part)]
        rows.append([part.title, ", ".join(files)])
    return ["## Tables as files", markdown(rows, texts=2)] if len(rows) > 1 else []


SECTIONS: list[Callable[[Content], list[str]]] = [
    auroc_section,
    differences_section,
    partial_section,
    course_section,
    rewards_section,
    votes_section,
    variants_section,
    preferences_section,
    published_section,
    training_section,
    data_section,
    files_section,
]
"""In the order of the report; each gives paragraphs, or nothing where it has nothing to tell."""


def report_text(content: Content) -> str:
    """The whole of report.md."""
    parts = [f"# {content.title}", *([SYNTHETIC] if content.options.synthetic else [])]
    parts += [part for section in SECTIONS for part in section(content)]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
