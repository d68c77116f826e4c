"""What a column of a score table must be, told before numpy would stumble over it.

Tables that another program has written (with longer integers, say) are taken; other kinds of
values, and rows without one, are not.
"""

from typing import TYPE_CHECKING

from gcrm.utils.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

MAY_LACK = ("expected_answer", "generated_solution", "predicted_answer")
"""columns in which a row may be null"""


def check_column(column: "pa.ChunkedArray", name: str, kind: str, where: str) -> None:
    """See that all values of a column are of its kind.

    Args:
        kind: "text", "bool", "int32", "float32", or "tokens" (a list of numbers a row).

    Raises:
        UserError: they are not, or one is missing; `where` names the file.
    """
    import pyarrow.types as types

    is_list = types.is_list(column.type) or types.is_large_list(column.type)
    inner = column.type.value_type if is_list else None
    fits = {
        "text": types.is_string(column.type) or types.is_large_string(column.type),
        "bool": types.is_boolean(column.type),
        "int32": types.is_integer(column.type),
        "float32": types.is_floating(column.type),
        "tokens": inner is not None and types.is_floating(inner),
    }
    empty = types.is_null(column.type) and name in MAY_LACK
    if not fits[kind] and not empty:
        expected = {"tokens": "a list of float32"}.get(kind, kind)
        raise UserError(f"{where}: column {name} holds {column.type}, not {expected}")
    if column.null_count and name not in MAY_LACK:
        row = column.is_null().index(True).as_py() + 1
        raise UserError(f"{where}, row {row}: {name} is missing; score it again")
    if is_list and any(chunk.values.null_count for chunk in column.chunks):
        raise UserError(f"{where}: column {name} has missing values; score it again")
