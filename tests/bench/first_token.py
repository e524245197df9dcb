"""From the command to the first sampled token of the tiny model, and to its end.

    python tests/bench/first_token.py --runs 5

Runs the command of README's first example in processes of its own, and the same without its care about
garbage in turns with it; prints the medians, of wall-clock and of CPU time. Run it twice: the first time
compiles the CPU kernels, and Python its modules, which it keeps even where PYTHONDONTWRITEBYTECODE is set.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from statistics import median

PROGRAM = """
import sys, time
from harmony.agent import __main__ as command
from harmony.agent.completion import Completion

told = Completion._told

def first(self):
    print(time.perf_counter(), time.process_time(), file=sys.stderr)
    Completion._told = told
    return told(self)

Completion._told = first
sys.argv[1:] = ["--json", "What is 1234 * 5678?"]
sys.exit(command.%s())
"""


def measure(entry: str) -> tuple[float, ...]:
    """Seconds of wall-clock and CPU time to the first token, then to the end of the process."""
    cpu, begun = children_cpu(), time.perf_counter()  # of one clock with that of the process
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % entry], env=environment, capture_output=True, text=True, check=True
    )
    ended = time.perf_counter() - begun
    wall, first_cpu = map(float, next(line for line in done.stderr.splitlines() if line[0].isdigit()).split())
    return wall - begun, first_cpu, ended, children_cpu() - cpu


def children_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    measured: dict[str, list[tuple[float, ...]]] = {"process": [], "main": []}
    for _ in range(runs):
        for entry, times in measured.items():
            times.append(measure(entry))
    print(f"{'':28}{'first token':>16}{'end':>16}\n{'':28}{'wall':>8}{'cpu':>8}{'wall':>8}{'cpu':>8}")
    for entry, name in (("process", "the command"), ("main", "with garbage collected")):
        print(
            f"{name:28}" + "".join(f"{median(column):8.2f}" for column in zip(*measured[entry], strict=True))
        )


if __name__ == "__main__":
    main()
