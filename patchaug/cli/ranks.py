"""A command in several processes: rank 0 prints, and an error of any rank ends all of them with one text."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

import typer

from patchaug.core.messages import messages_from
from patchaug.core.ranks import Ranks, read_ranks
from patchaug.core.stop_signals import ignore_stop_signals
from patchaug.errors import OptionError, PatchaugError

_GRACE = 3.0  # seconds in which the rank that tells the error ends first


@contextmanager
def one_voice(*, as_json: bool) -> Iterator[Ranks]:
    """Let the ranks of a command meet; only rank 0 prints within the context, and only one of them tells an error.

    Args:
        as_json: Print the error as JSON too.

    Raises:
        PatchaugError: In a single process.
        SystemExit: A rank has failed: with code 2 for wrong use, else 1.
    """
    ranks = read_ranks()
    if ranks.world_size == 1:
        yield ranks
        return
    from patchaug.data.rank_job import lost_rank, rank_job  # it loads torch

    with rank_job() as job, ExitStack() as stack:
        assert job is not None
        out = sys.stdout
        if not ranks.is_first:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
            stack.enter_context(messages_from("error"))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # rank 0 has the same
        try:
            yield ranks
            job.finish()
        except (SystemExit, typer.Exit):  # all ranks end alike, or one has reported why
            if not job.failed:
                job.finish()
            raise
        except KeyboardInterrupt:
            ignore_stop_signals()
            if job.speaks():
                typer.echo("patchaug: stopped", err=True)
            raise SystemExit(1) from None
        except Exception as error:
            ignore_stop_signals()
            if not job.speaks():
                time.sleep(_GRACE)  # torchrun reports the process that ends first as the cause
                raise SystemExit(1) from None
            if lost_rank(error):
                error = PatchaugError(
                    f"another of the {ranks.world_size} processes has ended without an error, as one that the system "
                    f"ends for its memory; lower ram or workers, and go on with the last checkpoint: --resume"
                )
            elif not isinstance(error, PatchaugError):
                raise
            name = "patchaug" if ranks.is_first else f"patchaug, rank {ranks.rank}"
            if as_json:
                print(json.dumps({"error": str(error), "kind": type(error).__name__}), file=out)
            typer.echo(f"{name}: {error}", err=True)
            raise SystemExit(2 if isinstance(error, OptionError) else 1) from None


def launch_name() -> str | None:
    """Return a name of this launch of torchrun, the same after each of its restarts; None in a single process."""
    if read_ranks().world_size == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return f"{socket.gethostname()}-{os.getppid()}" if name in ("", "none") else name
