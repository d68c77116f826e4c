"""Stage `export`: writes a score table as the authors' output.jsonl, for their scripts."""

from gcrm.cli import run_stage
from gcrm.config.export import ExportOptions
from gcrm.data.authors_format import write_authors_jsonl
from gcrm.data.scores import read_scores
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.utils.errors import UserError


def run(options: ExportOptions) -> None:
    """Write `options.scores` as JSON lines to `options.output`."""
    table = read_scores(options.scores)
    if table.split == "pairs":
        raise UserError(
            f"{options.scores}: holds preference pairs; the authors' format has solutions only"
        )
    write_authors_jsonl(options.output, table)
    write_provenance(beside(options.output), options, [options.scores], [options.output])


if __name__ == "__main__":
    raise SystemExit(run_stage(ExportOptions, run))
