"""The products of a few rows of weights with LANES or twice as many vectors, whose sums stay in registers."""

from typing import Any

from llvmlite import ir
from numba import types

from harmony.kernels.cpu.compiled.llvm import F32, I32, I64, operation
from harmony.kernels.cpu.panels import ROWS
from harmony.kernels.cpu.vectors import LANES

DEPTH = 480  # columns that are unpacked at a time: 27 KB, which stay in a core's first cache

_VECTOR = ir.VectorType(F32, LANES)
_BYTE = ir.IntType(8)


def _product(panels: int) -> Any:
    @operation(types.void, types.int64, types.int64, types.int64, types.int64, types.int64)
    def product(builder: Any, sums: Any, tile: Any, panel: Any, stride: Any, columns: Any) -> Any:
        """Add to `sums` float32 [panels, ROWS, LANES] what `columns` of a tile and of panels multiply to.

        `tile` is float32 [ROWS, DEPTH]; a panel float32 [columns, LANES], the second one `stride` bytes
        behind the first.
        """
        sums = builder.inttoptr(sums, _BYTE.as_pointer())
        tile = builder.inttoptr(tile, _BYTE.as_pointer())
        starts = [builder.inttoptr(panel, _BYTE.as_pointer())]
        if panels == 2:
            starts.append(builder.gep(starts[0], [stride]))
        places = [_at(builder, sums, 4 * LANES * index, _VECTOR) for index in range(panels * ROWS)]
        entry, loop = builder.block, builder.append_basic_block("columns")
        begun = [builder.load(place, align=4) for place in places]
        builder.branch(loop)
        builder.position_at_end(loop)
        column = builder.phi(I64)
        running = [builder.phi(_VECTOR) for _ in places]
        vectors = []
        for start in starts:
            at = builder.gep(start, [builder.mul(column, I64(4 * LANES))])
            vectors.append(builder.load(_at(builder, at, 0, _VECTOR), align=4))
        weights = builder.gep(tile, [builder.mul(column, I64(4))])
        ended: list[Any] = [None] * len(places)
        for row in range(ROWS):
            weight = builder.load(_at(builder, weights, 4 * DEPTH * row, F32), align=4)
            lone = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), weight, I32(0))
            spread = builder.shuffle_vector(
                lone, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
            )
            for number, vector in enumerate(vectors):
                index = number * ROWS + row
                product = builder.fmul(spread, vector, flags=("contract",))
                ended[index] = builder.fadd(running[index], product, flags=("contract",))
        following = builder.add(column, I64(1))
        column.add_incoming(I64(0), entry)
        column.add_incoming(following, loop)
        for before, place, after in zip(begun, running, ended, strict=True):
            place.add_incoming(before, entry)
            place.add_incoming(after, loop)
        end = builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed("<", following, columns), loop, end)
        builder.position_at_end(end)
        for place, total in zip(places, ended, strict=True):
            builder.store(total, place, align=4)
        return None

    return product


def _at(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    return builder.bitcast(builder.gep(address, [I64(offset)]), kind.as_pointer())


add_products, add_products_of_two = _product(1), _product(2)
