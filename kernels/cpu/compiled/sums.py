"""Loops whose sums stay in registers."""

from collections.abc import Callable, Sequence
from typing import Any

from harmony.kernels.cpu.compiled.llvm import I64


def add_in_registers(
    builder: Any, places: Sequence[Any], steps: Any, added: Callable[[Any, Sequence[Any]], Sequence[Any]]
) -> None:
    """Emit the code that adds to the numbers at `places` in so many steps, at least one.

    `added` emits a step: of its number and the sums before it, it gives the sums after it. They are loaded
    before the first step, and stored after the last one.
    """
    begun = [builder.load(place, align=4) for place in places]
    entry, loop = builder.block, builder.append_basic_block("loop")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(I64)
    running = [builder.phi(first.type) for first in begun]
    ended, following = added(step, running), builder.add(step, I64(1))
    step.add_incoming(I64(0), entry)
    step.add_incoming(following, loop)
    for phi, first, last in zip(running, begun, ended, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(last, loop)
    end = builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, end)
    builder.position_at_end(end)
    for place, last in zip(places, ended, strict=True):
        builder.store(last, place, align=4)
