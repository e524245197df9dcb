"""Experts on their packed weights for many tokens, in float32."""

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.activation import swiglu
from harmony.kernels.cpu.compiled.llvm import load_f32, load_i64, store_f32
from harmony.kernels.cpu.compiled.panels import multiply_mxfp4, sums, sums_of, tiles
from harmony.kernels.cpu.compiled.plain import place
from harmony.kernels.cpu.panels import BLOCK, MOST
from harmony.kernels.cpu.vectors import LANES


def up(arguments, first, last):
    """Item i: BLOCK rows of an expert with the vectors that chose it; gates and ups become activations."""
    blocks, scales, bias, table = arguments[0], arguments[1], arguments[2], arguments[3]
    chosen, begins, stops = arguments[4], arguments[5], arguments[6]
    panels, activated, shape = arguments[7], arguments[8], arguments[9]
    hidden, width = arguments[10], arguments[11]
    alpha, limit = load_f32(shape), load_f32(shape + 4)
    room, totals = tiles(), sums()
    parts = (2 * width + BLOCK - 1) // BLOCK
    for item in range(first, last):
        group, row = item // parts, item % parts * BLOCK
        here, expert = min(BLOCK, 2 * width - row), load_i64(chosen + 8 * group) * 2 * width
        end = load_i64(stops + 8 * group)
        for begin in range(load_i64(begins + 8 * group), end, MOST):
            count = min(MOST, end - begin)
            multiply_mxfp4(
                blocks, scales, table, expert + row, here, hidden,
                panels + 4 * LANES * hidden * begin, count, room, totals,
            )  # fmt: skip
            for panel in range(count):
                for pair in range(here // 2):
                    gates, ups = sums_of(totals, panel, 2 * pair), sums_of(totals, panel, 2 * pair + 1)
                    gate_bias = bfloat16.load(bias, expert + row + 2 * pair)
                    up_bias = bfloat16.load(bias, expert + row + 2 * pair + 1)
                    index = row // 2 + pair
                    to = (begin + panel) * width + place(index)
                    for lane in range(LANES):
                        gate, up = load_f32(gates + 4 * lane) + gate_bias, load_f32(ups + 4 * lane) + up_bias
                        value = bfloat16.value(bfloat16.rounded(swiglu(gate, up, alpha, limit)))
                        store_f32(activated + 4 * (to * LANES + lane), value)


def down(arguments, first, last):
    """Item i: BLOCK rows of an expert with the activations of the vectors that chose it."""
    blocks, scales, bias, table = arguments[0], arguments[1], arguments[2], arguments[3]
    chosen, begins, ends, counts = arguments[4], arguments[5], arguments[6], arguments[7]
    activated, outputs, hidden, width = arguments[8], arguments[9], arguments[10], arguments[11]
    room, totals = tiles(), sums()
    parts = (hidden + BLOCK - 1) // BLOCK
    for item in range(first, last):
        group, row = item // parts, item % parts * BLOCK
        here, expert = min(BLOCK, hidden - row), load_i64(chosen + 8 * group) * hidden
        total_count = load_i64(counts + 8 * group)
        slot = load_i64(ends + 8 * group) - total_count
        for vector in range(0, total_count, MOST * LANES):
            vectors = min(MOST * LANES, total_count - vector)
            panel = load_i64(begins + 8 * group) + vector // LANES
            multiply_mxfp4(
                blocks, scales, table, expert + row, here, width,
                activated + 4 * LANES * width * panel, (vectors + LANES - 1) // LANES, room, totals,
            )  # fmt: skip
            for index in range(vectors):
                out = outputs + 4 * ((slot + vector + index) * hidden + row)
                for line in range(here):
                    total = load_f32(sums_of(totals, index // LANES, line) + 4 * (index % LANES))
                    store_f32(out + 4 * line, total + bfloat16.load(bias, expert + row + line))
