"""Kill trainings by SIGKILL, resume them, and compare their ends bit by bit.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.kills                  # 1000 kills
    OPENBLAS_NUM_THREADS=1 python -m benchmarks.kills --case 17 --kills 50

Each training of `benchmarks.kill_cases` first runs without a checkpoint. Then it runs with one in
forked processes, which are killed several times: at a random moment, or at a random point of the
writing of a file, such as in the middle of its bytes or between its synchronization and its
renaming. The next process resumes it. Its end must have the same bits, every file must be readable
after every kill, and the temporary file of a killed process must be removed before the next one
makes its own. The script prints every fault with the arguments that repeat it, and exits with
status 1 if there is one. A moment depends on the speed of the machine, and so does a point of
writing if the interval of the checkpoint is in seconds or two threads write; the others are exact.

``tests/training/test_kills.py`` runs a sample. It needs ``os.fork``.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import xpnet
from benchmarks.kill_cases import BEST, CHECKPOINT, Case, Result, case_of
from xpnet.atomic import TEMPORARY

TRAININGS, MOST_KILLS = 2, 6
"""The trainings of a case, and the most kills of one."""

LONGEST = 60.0
"""The seconds after which a process counts as one that hangs."""


class Writes:
    """Counts the points of the writing of files in this process, and kills it at one of them.

    Points are the moments before and after a call of the operating system by which `xpnet.atomic`
    changes files, and within the bytes of a file.

    Args:
        last: the number of the point that kills the process, counted from 1; 0: none does.
        share: the share of the bytes that are written at a point within them, in ``[0, 1)``.
        folder: the folder of the files.
        leftovers: a file for the names of temporary files that earlier processes have left, if
            there are any when this one makes its own.
    """

    def __init__(self, last: int, share: float, folder: Path, leftovers: Path) -> None:
        self.last, self.share, self.leftovers = last, share, leftovers
        self.reached, self._write, self._open = 0, Path.write_bytes, os.open
        self._earlier = temporary_files(folder)

    def install(self) -> None:
        """Replace the functions that `xpnet.atomic` calls, in this process only."""
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, self._counted(getattr(os, name)))
        os.open = self._counted(self.open)
        Path.write_bytes = self._counted(self.write_bytes)  # type: ignore[method-assign]

    def write_bytes(self, path: Path, content: bytes) -> int:
        """Write a share of the bytes if this is the last point, else all of them."""
        if self.reached + 1 == self.last:
            self._write(path, content[: int(self.share * len(content))])
        self.reach()
        return self._write(path, content)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        """Open a file; note the temporary files of earlier processes beside a new one."""
        place = Path(os.fsdecode(path))
        if TEMPORARY.fullmatch(place.name) and flags & os.O_CREAT:
            names = self._earlier & temporary_files(place.parent)
            if names:
                self._write(self.leftovers, "\n".join(names).encode())
        return self._open(path, flags, mode)

    def reach(self) -> None:
        """Count a point, at which the process may end."""
        self.reached += 1
        if self.reached == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.reach()
            result = function(*arguments, **named)
            self.reach()
            return result

        return call


@dataclass(frozen=True)
class Kill:
    """How a process is to end: after some seconds, at a point of writing, or not at all."""

    seconds: float = 0.0
    point: int = 0
    share: float = 0.0

    def __str__(self) -> str:
        if self.point:
            return f"point {self.point}, {self.share:.2f} of the bytes"
        return f"after {1000 * self.seconds:.1f} ms" if self.seconds else "no kill"


@dataclass
class Report:
    """The numbers of kills and of trainings, and the faults."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """The number of kills."""
        return self.counts["training"] + self.counts["writing"]

    def __str__(self) -> str:
        n = self.counts
        return (
            f"{self.kills} kills ({n['training']} in training, {n['writing']} in writing) of "
            f"{n['killed trainings']} trainings of {n['cases']} cases, {n['resumed']} times "
            f"resumed: {n['equal']} of {n['killed trainings']} ends equal, "
            f"{n['differences']} differ, {n['torn']} torn files, {n['leftovers']} leftovers, "
            f"{n['errors']} errors"
        )


class Attempts:
    """The processes of one case, which share a folder.

    Args:
        case: the training.
        place: an empty folder.
    """

    def __init__(self, case: Case, place: Path) -> None:
        self.case, self.place, self.folder = case, place, place / "run"
        self.features = place / "X.npy"
        np.save(self.features, case.data["train"][0])
        self.begin()

    def begin(self) -> None:
        """Begin a training anew, without the files of the one before."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            path.unlink()

    def run(self, kill: Kill, checkpoint: bool = True) -> tuple[str, float]:
        """Train in a new process, which may be killed.

        Returns:
            "killed", "ended" or what failed, and the seconds that the process took.
        """
        for name in ("result.npz", "error", "leftovers"):
            (self.place / name).unlink(missing_ok=True)
        begin = time.perf_counter()
        readable, writable = os.pipe()  # the child's end is closed when it ends
        child = os.fork()
        if child == 0:
            os.close(readable)
            self._train(kill, checkpoint)
        os.close(writable)
        ended, _, _ = select.select([readable], [], [], kill.seconds or LONGEST)
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(readable)
        seconds = time.perf_counter() - begin
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            hangs = not ended and not kill.seconds
            return f"hangs for {LONGEST} s" if hangs else "killed", seconds
        if status:
            error = self.place / "error"
            return error.read_text() if error.exists() else f"ended with {status}", seconds
        return "ended", seconds

    def _train(self, kill: Kill, checkpoint: bool) -> NoReturn:
        """Train in this process and end it."""
        status = 1
        try:
            warnings.simplefilter("error", UserWarning)  # as of another environment
            writes = Writes(kill.point, kill.share, self.folder, self.place / "leftovers")
            writes.install()
            result = self.case.train(self.folder, self.features, checkpoint)
            writes.last = 0
            np.savez(self.place / "result.npz", **result, points=writes.reached)
            status = 0
        except BaseException as error:
            lines = traceback.format_exception(error)[-2:]
            (self.place / "error").write_text(" ".join("".join(lines).split()))
        finally:
            os._exit(status)

    def result(self) -> Result:
        """Return the result of the last process, and its number of points of writing."""
        with np.load(self.place / "result.npz") as file:
            return dict(file)

    def torn(self) -> Iterator[str]:
        """Yield what is wrong with the files in the folder."""
        for name, read in ((CHECKPOINT, self.case.read), (BEST, xpnet.load)):
            path = self.folder / name
            try:
                if path.exists():
                    read(path)
            except Exception as error:
                yield f"{name}: {type(error).__name__}: {error}"


def kill_case(seed: int, number: int, report: Report, most: int) -> None:
    """Kill the trainings of a case at most ``most`` times, and add what happens to a report."""
    case, rng = case_of(seed, number), np.random.default_rng([seed, number, 1])
    with tempfile.TemporaryDirectory() as name:
        attempts = Attempts(case, Path(name))
        repeat = f"--seed {seed} --case {number}: {case}"
        report.counts["cases"] += 1
        expected, seconds, faults = _uninterrupted(attempts)
        stop = min(report.kills + most, report.kills + TRAININGS * MOST_KILLS)
        for _ in range(TRAININGS if expected else 0):
            if report.kills < stop:
                n = min(int(rng.integers(1, MOST_KILLS + 1)), stop - report.kills)
                faults += _killed(attempts, report, n, expected, seconds, rng)
        for fault in faults:
            report.faults.append(fault)
            print(f"{repeat}: {fault}", flush=True)


def _uninterrupted(attempts: Attempts) -> tuple[Result, float, list[str]]:
    """Return the end of a training that is not killed, its seconds, and the faults."""
    try:  # in this process, which compiles the loops for the others
        attempts.case.train(attempts.folder, attempts.features, False)
    except Exception as error:
        return {}, 0.0, [f"in the parent: {type(error).__name__}: {error}"]
    attempts.begin()
    end, _ = attempts.run(Kill(), checkpoint=False)
    if end != "ended":
        return {}, 0.0, [f"without a checkpoint: {end}"]
    expected = attempts.result()
    attempts.begin()
    end, seconds = attempts.run(Kill())
    if end != "ended":
        return {}, 0.0, [f"not killed: {end}"]
    found = attempts.result()
    different = differences(found, expected)
    return found, seconds, [f"a checkpoint changes {different}"] if different else []


def _killed(
    attempts: Attempts,
    report: Report,
    n_kills: int,
    expected: Result,
    seconds: float,
    rng: np.random.Generator,
) -> list[str]:
    """Kill a training ``n_kills`` times or until it ends; return the faults."""
    attempts.begin()
    counts, history, faults = report.counts, [], []
    points, has_file = int(expected["points"]), False
    while True:
        kill = _drawn(rng, seconds, points) if len(history) < n_kills else Kill()
        resumes = (attempts.folder / CHECKPOINT).exists()
        end, _ = attempts.run(kill)
        counts["resumed"] += resumes
        leftovers = attempts.place / "leftovers"
        found = [("leftovers", f"left: {leftovers.read_text()}")] if leftovers.exists() else []
        found += [("torn", text) for text in attempts.torn()]
        if has_file and not (attempts.folder / CHECKPOINT).exists():
            found.append(("torn", f"no {CHECKPOINT}"))
        has_file = (attempts.folder / CHECKPOINT).exists()
        if end == "killed":
            history.append(str(kill))
            counts["writing" if kill.point or temporary_files(attempts.folder) else "training"] += 1
        elif end == "ended":
            found += _at_the_end(attempts, expected)
        else:
            found.append(("errors", end))
        for kind, text in found:
            counts[kind] += 1
            faults.append(f"{text} (kills: {'; '.join(history)})")
        if end != "killed":
            break
    if history:
        counts["killed trainings"] += 1
        counts["equal"] += end == "ended" and not differences(attempts.result(), expected)
    return faults


def _at_the_end(attempts: Attempts, expected: Result) -> list[tuple[str, str]]:
    """Return what is wrong at the end of a training."""
    different = differences(attempts.result(), expected)
    found = [("differences", f"other bits of {different}")] if different else []
    left = temporary_files(attempts.folder)
    return found + ([("leftovers", f"left at the end: {left}")] if left else [])


def _drawn(rng: np.random.Generator, seconds: float, points: int) -> Kill:
    """A random kill: log-uniform moments, and points that are uniform or log-uniform."""
    kind, share = rng.random(), float(rng.random())
    if kind < 0.6:
        return Kill(seconds=seconds * 10 ** float(rng.uniform(-1.5, 0)))
    if kind < 0.8:
        return Kill(point=int(rng.integers(1, points + 1)), share=share)
    return Kill(point=int(points ** float(rng.random())), share=share)


def temporary_files(folder: Path) -> set[str]:
    """The names of the temporary files of `xpnet.atomic` in a folder."""
    return {name for name in os.listdir(folder) if TEMPORARY.fullmatch(name)}


def differences(found: Result, expected: Result) -> str:
    """The names of what differs in a bit, in its shape or in its dtype; empty if nothing does."""
    names = sorted((found.keys() | expected.keys()) - {"points"})
    return ", ".join(name for name in names if _bits(found, name) != _bits(expected, name))


def _bits(result: Result, name: str) -> tuple[Any, ...]:
    value = result.get(name)
    return () if value is None else (value.dtype.str, value.shape, value.tobytes())


def run(kills: int, seed: int, number: int | None = None) -> Report:
    """Kill trainings until there were ``kills`` kills, of all cases in turn or of one."""
    report, case = Report(), 0
    while report.kills < kills and len(report.faults) < 20:
        kill_case(seed, case if number is None else number, report, kills - report.kills)
        case += 1
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases and of the kills")
    parser.add_argument("--case", type=int, help="number of the only case")
    given = parser.parse_args()
    begin = time.perf_counter()
    report = run(given.kills, given.seed, given.case)
    print(f"{report}; {time.perf_counter() - begin:.0f} s")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
