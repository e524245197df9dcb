"""The products of a few rows of weights with LANES or twice as many vectors, whose sums stay in registers."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from harmony.kernels.cpu.compiled.llvm import F32, I32, I64, operation
from harmony.kernels.cpu.compiled.sums import add_in_registers
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

        def added(column: Any, before: Sequence[Any]) -> Sequence[Any]:
            vectors = []
            for start in starts:
                at = builder.gep(start, [builder.mul(column, I64(4 * LANES))])
                vectors.append(builder.load(_at(builder, at, 0, _VECTOR), align=4))
            weights = builder.gep(tile, [builder.mul(column, I64(4))])
            after: list[Any] = [None] * len(places)
            for row in range(ROWS):
                weight = builder.load(_at(builder, weights, 4 * DEPTH * row, F32), align=4)
                lone = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), weight, I32(0))
                lanes = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
                spread = builder.shuffle_vector(lone, ir.Constant(_VECTOR, ir.Undefined), lanes)
                for number, vector in enumerate(vectors):
                    index = number * ROWS + row
                    product = builder.fmul(spread, vector, flags=("contract",))
                    after[index] = builder.fadd(before[index], product, flags=("contract",))
            return after

        add_in_registers(builder, places, columns, added)
        return None

    return product


def _at(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    return builder.bitcast(builder.gep(address, [I64(offset)]), kind.as_pointer())


add_products, add_products_of_two = _product(1), _product(2)
