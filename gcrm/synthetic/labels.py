"""The label of a solution: its predicted answer, and whether that is correct."""

from gcrm.stats.answers import canonical
from gcrm.synthetic.problems import predicted_answer
from gcrm.utils.io import Row


def labelled(problem: Row, text: str, finished: bool) -> Row:
    """The row of a completion file for a solution to a problem.

    A truncated solution has no answer, since its last answer so far need not be the final one.

    Args:
        problem: question and expected_answer.
    """
    answer = predicted_answer(text) if finished else None
    correct = answer is not None and canonical(answer) == canonical(problem["expected_answer"])
    return {
        "question": problem["question"],
        "expected_answer": problem["expected_answer"],
        "generated_solution": text,
        "predicted_answer": answer,
        "is_correct": correct,
    }
