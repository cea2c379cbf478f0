"""Write the curves of a run in the files that TensorBoard shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from pocketrnn.errors import OutputError
from pocketrnn_training.training_events import Epoch, Notice, Progress

__all__ = ["yield_function_that_writes_tensorboard_curves"]


@contextmanager
def yield_function_that_writes_tensorboard_curves(
    output: Path, *, force: bool, resume: bool
) -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """Yield a function to call with each event of a run: it writes the scores to the folder `OUTPUT.tensorboard`.

    Args:
        output: the folder of the run.
        force: whether to replace the curves of an earlier run.
        resume: whether to add to the curves of an earlier run.

    Raises:
        OutputError: the folder holds the curves of another run, and both `force` and `resume` are false.
    """
    # Beside the folder of the run, which is written anew after every epoch; these files grow.
    folder = output.absolute().with_name(f"{output.absolute().name}.tensorboard")
    for before in () if resume else sorted(folder.glob("events.out.tfevents.*")):
        if not force:
            raise OutputError(
                f"{folder} already holds the TensorBoard curves of another run.",
                "Delete the folder, or add --force to replace it.",
            )
        before.unlink()
    board = TensorBoardLogger(folder.parent, name=folder.name, version="")

    def write_event(event: Progress | Epoch | Notice) -> None:
        if isinstance(event, Progress):
            rows = (event.epoch - 1) * event.rows + event.row
            board.log_metrics(
                {"loss": event.loss, "accuracy": event.accuracy, "rows_per_second": event.rows_per_second}, step=rows
            )
        elif isinstance(event, Epoch):
            board.log_metrics(
                {
                    "validation/loss": event.validation_loss,
                    "validation/accuracy": event.validation_accuracy,
                    "validation/f1": event.validation_f1,
                },
                step=event.epoch,
            )

    try:
        yield write_event
    finally:
        board.finalize("")
