"""Many rows times a matrix of bfloat16, in float32."""

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.llvm import load_f32
from harmony.kernels.cpu.compiled.panels import multiply_bfloat16, sums, sums_of, tiles
from harmony.kernels.cpu.panels import BLOCK, MOST
from harmony.kernels.cpu.vectors import LANES


def linear(arguments, first, last):
    """Item i: rows i * BLOCK and the following."""
    weight, bias, panels, out = arguments[0], arguments[1], arguments[2], arguments[3]
    n, rows, columns = arguments[4], arguments[5], arguments[6]
    room, totals = tiles(), sums()
    for item in range(first, last):
        row = item * BLOCK
        here = min(BLOCK, rows - row)
        for vector in range(0, n, MOST * LANES):
            vectors = min(MOST * LANES, n - vector)
            multiply_bfloat16(
                weight, 0, 0, row, here, columns, panels + 4 * vector * columns,
                (vectors + LANES - 1) // LANES, room, totals,
            )  # fmt: skip
            for index in range(vectors):
                for place in range(here):
                    total = load_f32(sums_of(totals, index // LANES, place) + 4 * (index % LANES))
                    if bias:
                        total += bfloat16.load(bias, row + place)
                    bfloat16.store(out, (vector + index) * rows + row + place, total)
