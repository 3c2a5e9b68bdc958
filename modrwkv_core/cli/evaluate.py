"""``modrwkv evaluate``: evaluate a trained run on its tasks."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from modrwkv_core.cli.options import checkpoint_option
from modrwkv_core.errors import ManifestError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="Number of samples of each task, drawn at random; by default all."
)
@checkpoint_option
@click.option("--device", help="Where to compute; by default a GPU if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def evaluate(
    run: Path,
    tasks: tuple[str, ...],
    limit: int | None,
    checkpoint: str,
    device: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Evaluate the model of RUN on the tasks of its manifest, next to baselines.

    Writes results.json, predictions.jsonl with what the model predicted for each sample, and report.html as
    `modrwkv report` does, into RUN. `modrwkv compare` says which differences between runs are significant.
    """
    from modrwkv_core.evaluation import results as scores
    from modrwkv_core.evaluation.cards import evaluation_cards, write_evaluations
    from modrwkv_core.evaluation.evaluator import evaluate
    from modrwkv_core.evaluation.predictions import PREDICTIONS, write_predictions
    from modrwkv_core.evaluation.run_report import write_run_report
    from modrwkv_core.inference.loading import load
    from modrwkv_core.interfaces.record import Media
    from modrwkv_core.model.run import RunFolder
    from modrwkv_core.model.train_state import TrainState

    session = load(run, checkpoint=checkpoint, device=device)
    manifest = session.loaded.manifest
    names = _chosen(run, manifest.evaluation, tasks)
    results = [evaluate(session, name, limit=limit, progress_bar=not quiet) for name in names]

    def decode(media: Media) -> object:
        return session.loaded.registry.modality_class(media.modality)().decode(media.media)

    # Printed first: a folder that cannot be written must not cost the scores.
    if as_json:
        click.echo(scores.as_json(manifest.name, results))
    else:
        for result in results:
            if asked := scores.questions(result):
                click.echo(asked + "\n")
        click.echo(scores.table(results))
    scores.write_results(run / scores.RESULTS, manifest.name, results)
    write_predictions(run / PREDICTIONS, results)
    write_evaluations(run, [evaluation_cards(result, decode) for result in results])
    report = write_run_report(run)
    session.loaded.registry.hook.modrwkv_evaluated(
        run=run,
        step=TrainState.read(RunFolder(run).select(checkpoint)).step,
        metrics={f"{result.task}/{score.metric.name}": score.model for result in results for score in result.scores},
    )
    if not as_json:
        click.echo(f"report: {report}")


def _chosen(run: Path, known: Collection[str], wanted: Sequence[str]) -> list[str]:
    """Return the tasks to evaluate, in the manifest's order.

    Raises:
        ManifestError: There are none, or one that is wanted is not in the manifest.
    """
    if not known:
        raise ManifestError(
            f"the manifest of {run} names no tasks",
            hint=f"add a section `evaluation` with a task and its data to {run / 'manifest.yaml'}",
        )
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ManifestError(
                f"the manifest of {run} has no task {name!r}",
                hint=f"did you mean {close[0]!r}?" if close else f"its tasks: {', '.join(known)}",
            )
    return [name for name in known if not wanted or name in wanted]
