"""Memory, atomics and vector registers for kernels in numba, as operations of LLVM.

Addresses are integers. Vectors are values of a numba type of their own, which lives in one register;
operations that exist only on x86 say so in their name.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once
from numba.extending import intrinsic, models, register_model

Emit = Callable[..., Any]
I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


class _BFloat(ir.Type):
    """The element of vdpbf16ps, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


class Vector(types.Type):
    """A register of `lanes` elements."""

    def __init__(self, element: Any, lanes: int) -> None:
        self.ir = ir.VectorType(element, lanes)
        super().__init__(name=f"{element}x{lanes}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.ir)


i16x32, i32x16, f32x16 = Vector(I16, 32), Vector(I32, 16), Vector(F32, 16)
i8x64, i8x16, i32x8, f32x8 = (
    Vector(ir.IntType(8), 64),
    Vector(ir.IntType(8), 16),
    Vector(I32, 8),
    Vector(F32, 8),
)


def operation(result: types.Type, *arguments: types.Type) -> Callable[[Emit], Any]:
    """Make an operation for kernels of a function that emits its LLVM code."""

    def wrap(emit: Emit) -> Any:
        made = result(*arguments), lambda _, builder, __, values: emit(builder, *values)
        typed = _OF_ARITY[len(arguments)](made)
        typed.__name__ = typed.__qualname__ = emit.__name__
        return intrinsic(typed)

    return wrap


_OF_ARITY: tuple[Emit, ...] = (  # numba takes no *arguments here
    lambda made: lambda context: made,
    lambda made: lambda context, a: made,
    lambda made: lambda context, a, b: made,
    lambda made: lambda context, a, b, c: made,
    lambda made: lambda context, a, b, c, d: made,
    lambda made: lambda context, a, b, c, d, e: made,
    lambda made: lambda context, a, b, c, d, e, f: made,
)


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _declare(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def _loader(kind: types.Type, form: Any) -> Any:
    @operation(kind, types.int64)
    def load(builder: Any, address: Any) -> Any:
        loaded = builder.load(_pointer(builder, address, form))
        loaded.align = 1
        return loaded

    return load


load_i16x32 = _loader(i16x32, i16x32.ir)
load_i32x16 = _loader(i32x16, i32x16.ir)
load_i8x16 = _loader(i8x16, i8x16.ir)
load_f32x8, load_f32x16 = _loader(f32x8, f32x8.ir), _loader(f32x16, f32x16.ir)
load_u16 = _loader(types.uint16, I16)
load_u8 = _loader(types.uint8, ir.IntType(8))
load_i64 = _loader(types.int64, I64)
load_i32 = _loader(types.int32, I32)
load_f32 = _loader(types.float32, F32)


def _bf16_loader(kind: Vector) -> Any:
    @operation(kind, types.int64)
    def load(builder: Any, address: Any) -> Any:
        """bfloat16 numbers as float32."""
        lanes = kind.ir.count
        loaded = builder.load(_pointer(builder, address, ir.VectorType(I16, lanes)))
        loaded.align = 1
        wide = ir.VectorType(I32, lanes)
        bits = builder.shl(builder.zext(loaded, wide), ir.Constant(wide, [16] * lanes))
        return builder.bitcast(bits, kind.ir)

    return load


load_bf16x8, load_bf16x16 = _bf16_loader(f32x8), _bf16_loader(f32x16)


def _bf16_half_loader(kind: Vector, *, odd: bool) -> Any:
    @operation(kind, types.int64)
    def load(builder: Any, address: Any) -> Any:
        """Every other one of twice as many bfloat16 numbers, as float32."""
        lanes = kind.ir.count
        wide = ir.VectorType(I32, lanes)
        loaded = builder.load(_pointer(builder, address, wide))
        loaded.align = 1
        if odd:
            return builder.bitcast(builder.and_(loaded, ir.Constant(wide, [0xFFFF0000] * lanes)), kind.ir)
        return builder.bitcast(builder.shl(loaded, ir.Constant(wide, [16] * lanes)), kind.ir)

    return load


load_even_bf16x8, load_even_bf16x16 = (_bf16_half_loader(kind, odd=False) for kind in (f32x8, f32x16))
load_odd_bf16x8, load_odd_bf16x16 = (_bf16_half_loader(kind, odd=True) for kind in (f32x8, f32x16))


@operation(types.CPointer(types.float32), types.int64)
def pointer_f32(builder: Any, address: Any) -> Any:
    """Where float32 numbers lie, for `carray`; LLVM makes vectors only of loops over arrays."""
    return _pointer(builder, address, F32)


@operation(types.CPointer(types.uint16), types.int64)
def pointer_u16(builder: Any, address: Any) -> Any:
    return _pointer(builder, address, I16)


@operation(types.CPointer(types.uint8), types.int64)
def pointer_u8(builder: Any, address: Any) -> Any:
    return _pointer(builder, address, ir.IntType(8))


def _storer(kind: types.Type, form: Any) -> Any:
    @operation(types.void, types.int64, kind)
    def store(builder: Any, address: Any, value: Any) -> Any:
        return builder.store(value, _pointer(builder, address, form), align=1)

    return store


store_u16 = _storer(types.uint16, I16)
store_i64 = _storer(types.int64, I64)
store_f32 = _storer(types.float32, F32)
store_i16x32 = _storer(i16x32, i16x32.ir)
store_f32x8, store_f32x16 = _storer(f32x8, f32x8.ir), _storer(f32x16, f32x16.ir)


def stack(size: int) -> Any:
    """An operation that gives the address of `size` bytes, which last until the kernel returns.

    They begin with a cache line, so that no register that is kept there lies in two.
    """

    @operation(types.int64)
    def room(builder: Any) -> Any:
        made = alloca_once(builder, ir.IntType(8), I64(size))
        made.align = 64
        return builder.ptrtoint(made, I64)

    return room


@operation(types.float32, types.int32)
def as_f32(builder: Any, bits: Any) -> Any:
    """The float32 of these bits."""
    return builder.bitcast(bits, F32)


@operation(types.int32, types.float32)
def as_i32(builder: Any, value: Any) -> Any:
    """The bits of a float32."""
    return builder.bitcast(value, I32)


@operation(types.int64, types.int64, types.int64)
def atomic_add(builder: Any, address: Any, value: Any) -> Any:
    """Add and give what was there before."""
    return builder.atomic_rmw("add", _pointer(builder, address, I64), value, "seq_cst")


@operation(types.int64, types.int64, types.int64)
def atomic_swap(builder: Any, address: Any, value: Any) -> Any:
    """Write and give what was there before."""
    return builder.atomic_rmw("xchg", _pointer(builder, address, I64), value, "seq_cst")


@operation(types.int64, types.int64)
def atomic_load(builder: Any, address: Any) -> Any:
    return builder.load_atomic(_pointer(builder, address, I64), "seq_cst", 8)


@operation(types.void, types.int64, types.int64, types.int64, types.int64)
def call(builder: Any, function: Any, arguments: Any, first: Any, last: Any) -> Any:
    """Call the kernel at an address."""
    form = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64])
    return builder.call(
        builder.inttoptr(function, form.as_pointer()), [_pointer(builder, arguments, I64), first, last]
    )


def ask(builder: Any, address: Any, locality: int) -> Any:
    """Have a cache line brought to the first cache (3) or the second (2); any address is allowed."""
    byte = ir.IntType(8).as_pointer()
    function = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), byte, I32, I32, I32)
    read, keep, data = (ir.Constant(I32, number) for number in (0, locality, 1))
    return builder.call(function, [_pointer(builder, address, ir.IntType(8)), read, keep, data])


@operation(types.void, types.int64)
def prefetch(builder: Any, address: Any) -> Any:
    """Ask for a cache line that will be read soon."""
    return ask(builder, address, 3)


@operation(types.void, types.int64)
def prefetch_l2(builder: Any, address: Any) -> Any:
    """The same for one that the second cache shall keep until it is read."""
    return ask(builder, address, 2)


@operation(f32x16)
def zero_f32x16(builder: Any) -> Any:
    return ir.Constant(f32x16.ir, [0.0] * 16)


@operation(f32x8)
def zero_f32x8(builder: Any) -> Any:
    return ir.Constant(f32x8.ir, [0.0] * 8)


def _total(kind: Vector) -> Any:
    @operation(types.float32, kind)
    def total(builder: Any, vector: Any) -> Any:
        name = f"llvm.vector.reduce.fadd.v{kind.ir.count}f32"
        function = _declare(builder, name, F32, F32, kind.ir)
        return builder.call(function, [ir.Constant(F32, -0.0), vector], fastmath=("reassoc",))

    return total


total_f32x16, total_f32x8 = _total(f32x16), _total(f32x8)


def _adder(kind: Vector) -> Any:
    @operation(kind, kind, kind)
    def add(builder: Any, a: Any, b: Any) -> Any:
        return builder.fadd(a, b)

    return add


add_f32x8, add_f32x16 = _adder(f32x8), _adder(f32x16)


def _product_adder(kind: Vector) -> Any:
    @operation(kind, kind, kind, kind)
    def add_product(builder: Any, total: Any, a: Any, b: Any) -> Any:
        """total + a * b, rounded once where the CPU can."""
        return builder.fadd(total, builder.fmul(a, b, flags=("contract",)), flags=("contract",))

    return add_product


add_product_f32x8, add_product_f32x16 = _product_adder(f32x8), _product_adder(f32x16)


def _multiply_add(kind: Vector) -> Any:
    @operation(kind, kind, kind, kind)
    def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        function = _declare(builder, f"llvm.fma.v{kind.ir.count}f32", kind.ir, kind.ir, kind.ir, kind.ir)
        return builder.call(function, [a, b, c])

    return multiply_add


multiply_add_f32x16, multiply_add_f32x8 = _multiply_add(f32x16), _multiply_add(f32x8)


def splat(builder: Any, value: Any, kind: Vector) -> Any:
    """A register of one value."""
    lone = builder.insert_element(ir.Constant(kind.ir, ir.Undefined), value, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, kind.ir.count), [0] * kind.ir.count)
    return builder.shuffle_vector(lone, ir.Constant(kind.ir, ir.Undefined), zeros)


def _splatter(kind: Vector) -> Any:
    @operation(kind, types.float32)
    def splatted(builder: Any, value: Any) -> Any:
        return splat(builder, value, kind)

    return splatted


splat_f32x8, splat_f32x16 = _splatter(f32x8), _splatter(f32x16)


def _first_loader(kind: Vector) -> Any:
    lanes, element = kind.ir.count, kind.ir.element
    mask = ir.VectorType(ir.IntType(1), lanes)
    numbers = ir.Constant(kind.ir, list(range(lanes)))

    @operation(kind, types.int64, types.int64)
    def load_first(builder: Any, address: Any, count: Any) -> Any:
        """The first `count` elements, and zeros; nothing beyond them is touched."""
        byte = ir.IntType(8).as_pointer()
        chosen = builder.icmp_unsigned("<", numbers, splat(builder, builder.trunc(count, element), kind))
        name = f"llvm.masked.load.v{lanes}{element}.p0"
        function = _declare(builder, name, kind.ir, byte, I32, mask, kind.ir)
        at, align, zeros = _pointer(builder, address, ir.IntType(8)), ir.Constant(I32, 1), [0] * lanes
        return builder.call(function, [at, align, chosen, ir.Constant(kind.ir, zeros)])

    return load_first


load_first_i16x32, load_first_i32x16 = _first_loader(i16x32), _first_loader(i32x16)
load_first_i8x16 = _first_loader(i8x16)


def _shifter(bits: int) -> Any:
    @operation(i16x32, i16x32)
    def shift(builder: Any, vector: Any) -> Any:
        return builder.lshr(vector, ir.Constant(i16x32.ir, [bits] * 32))

    return shift


shift_right_4, shift_right_8, shift_right_12 = (_shifter(bits) for bits in (4, 8, 12))


@operation(i32x16, i8x16)
def widened_i32x16(builder: Any, numbers: Any) -> Any:
    """Bytes as words, without their sign."""
    return builder.zext(numbers, i32x16.ir)


@operation(i32x16, i16x32)
def as_i32x16(builder: Any, vector: Any) -> Any:
    return builder.bitcast(vector, i32x16.ir)


def _nibble_looker(place: int) -> Any:
    @operation(f32x16, f32x16, i32x16)
    def look_up(builder: Any, table: Any, words: Any) -> Any:
        """vpermps: nibble `place` of each word chooses an element of `table`."""
        name = "llvm.x86.avx512.permvar.sf.512"
        function = _declare(builder, name, f32x16.ir, f32x16.ir, i32x16.ir)
        shifted = builder.lshr(words, ir.Constant(i32x16.ir, [4 * place] * 16))
        return builder.call(function, [table, shifted])

    return look_up


x86_look_up_nibble = tuple(_nibble_looker(place) for place in range(8))


@operation(i16x32, i16x32, i16x32)
def x86_look_up(builder: Any, table: Any, indices: Any) -> Any:
    """vpermw: of each index the lowest five bits choose an element of `table`."""
    function = _declare(builder, "llvm.x86.avx512.permvar.hi.512", i16x32.ir, i16x32.ir, i16x32.ir)
    return builder.call(function, [table, indices])


@operation(f32x16, f32x16, i16x32, i16x32)
def x86_dot_bf16(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """vdpbf16ps: to each of 16 sums add the products of two pairs of bfloat16."""
    pairs = ir.VectorType(_BFloat(), 32)
    function = _declare(builder, "llvm.x86.avx512bf16.dpbf16ps.512", f32x16.ir, f32x16.ir, pairs, pairs)
    return builder.call(function, [total, builder.bitcast(a, pairs), builder.bitcast(b, pairs)])


@operation(f32x16, types.int32)
def powers_f32x16(builder: Any, scales: Any) -> Any:
    """2^(s - 127) of four scale bytes, each four times in a row; exact where s is 0, too."""
    four = ir.VectorType(I32, 4)
    wide = builder.zext(builder.bitcast(scales, ir.VectorType(ir.IntType(8), 4)), four)
    bits = builder.shl(wide, ir.Constant(four, [23] * 4))
    subnormal = ir.Constant(four, [1 << 22] * 4)  # 2^-127 has no exponent bits
    bits = builder.select(builder.icmp_unsigned(">", bits, subnormal), bits, subnormal)
    spread = ir.Constant(ir.VectorType(I32, 16), [lane // 4 for lane in range(16)])
    wide = builder.shuffle_vector(bits, ir.Constant(four, ir.Undefined), spread)
    return builder.bitcast(wide, f32x16.ir)


@operation(i16x32, i8x16)
def nibbles_i16x32(builder: Any, packed: Any) -> Any:
    """The 32 nibbles of 16 bytes, the low one of each byte first."""
    wide = builder.zext(packed, i32x16.ir)
    both = builder.or_(wide, builder.shl(wide, ir.Constant(i32x16.ir, [12] * 16)))
    return builder.bitcast(builder.and_(both, ir.Constant(i32x16.ir, [0x000F000F] * 16)), i16x32.ir)


@operation(i8x16, i8x16)
def high_nibbles(builder: Any, packed: Any) -> Any:
    return builder.lshr(packed, ir.Constant(i8x16.ir, [4] * 16))


@operation(i8x16, i8x16)
def low_nibbles(builder: Any, packed: Any) -> Any:
    return builder.and_(packed, ir.Constant(i8x16.ir, [15] * 16))


@operation(i8x16, i8x16, i8x16)
def x86_look_up_bytes(builder: Any, table: Any, indices: Any) -> Any:
    """pshufb: each index below 16 chooses a byte of `table`."""
    function = _declare(builder, "llvm.x86.ssse3.pshuf.b.128", i8x16.ir, i8x16.ir, i8x16.ir)
    return builder.call(function, [table, indices])


def _half(first: int) -> Any:
    @operation(f32x8, i8x16)
    def half(builder: Any, numbers: Any) -> Any:
        lanes = ir.Constant(ir.VectorType(I32, 8), list(range(first, first + 8)))
        eight = builder.shuffle_vector(numbers, ir.Constant(i8x16.ir, ir.Undefined), lanes)
        return builder.sitofp(builder.sext(eight, i32x8.ir), f32x8.ir)

    return half


first_half_f32x8, second_half_f32x8 = _half(0), _half(8)


def _interleaved(builder: Any, one: Any, other: Any, *pattern: int) -> Any:
    """In each quarter the same four words of both, those of `other` counted from 16."""
    lanes = [quarter + lane for quarter in range(0, 16, 4) for lane in pattern]
    return builder.shuffle_vector(one, other, ir.Constant(i32x16.ir, lanes))


def _word_of_blocks(place: int) -> Any:
    first, second = place // 2 * 2, place % 2 * 2

    @operation(i32x16, i32x16, i32x16, i32x16, i32x16)
    def word(builder: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        """Word `place` of each of 16 blocks of four words, which lie in four registers one behind the other.

        Lane l has that of block BLOCK_OF_LANE[l]: what two rounds of vpunpck make.
        """
        pairs = [
            _interleaved(builder, one, other, first, 16 + first, first + 1, 17 + first)
            for one, other in ((a, b), (c, d))
        ]
        return _interleaved(builder, *pairs, second, second + 1, 16 + second, 17 + second)

    return word


x86_word_of_blocks = tuple(_word_of_blocks(place) for place in range(4))
BLOCK_OF_LANE = tuple(lane % 4 * 4 + lane // 4 for lane in range(16))


@operation(f32x16, i8x16)
def x86_powers_of_blocks(builder: Any, scales: Any) -> Any:
    """2^(s - 127) of 16 scale bytes, in the order of `x86_word_of_blocks`; exact where s is 0, too."""
    undefined = ir.Constant(i8x16.ir, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(I32, 64), [lane % 16 for lane in range(64)])
    spread = builder.shuffle_vector(scales, undefined, everywhere)
    top = [index for block in BLOCK_OF_LANE for index in (-1, -1, -1, block)]
    function = _declare(builder, "llvm.x86.avx512.pshuf.b.512", i8x64.ir, i8x64.ir, i8x64.ir)
    chosen = builder.call(function, [spread, ir.Constant(i8x64.ir, [index % 256 for index in top])])
    bits = builder.lshr(builder.bitcast(chosen, i32x16.ir), ir.Constant(i32x16.ir, [1] * 16))
    subnormal = ir.Constant(i32x16.ir, [1 << 22] * 16)  # 2^-127 has no exponent bits
    bits = builder.select(builder.icmp_unsigned(">", bits, subnormal), bits, subnormal)
    return builder.bitcast(bits, f32x16.ir)


def _nibbles_of_words(high: bool) -> Any:
    @operation(i32x16, i32x16, i32x16)
    def look_up(builder: Any, table: Any, words: Any) -> Any:
        """vpshufb: each byte's nibble chooses one of 16 bytes, which `table` holds four times."""
        if high:
            words = builder.lshr(words, ir.Constant(i32x16.ir, [4] * 16))
        codes = builder.and_(words, ir.Constant(i32x16.ir, [0x0F0F0F0F] * 16))
        function = _declare(builder, "llvm.x86.avx512.pshuf.b.512", i8x64.ir, i8x64.ir, i8x64.ir)
        chosen = builder.call(function, [builder.bitcast(table, i8x64.ir), builder.bitcast(codes, i8x64.ir)])
        return builder.bitcast(chosen, i32x16.ir)

    return look_up


x86_look_up_low_nibbles, x86_look_up_high_nibbles = _nibbles_of_words(False), _nibbles_of_words(True)


@operation(i32x16, i32x16, i32x16, i32x16)
def x86_dot_bytes(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """vpdpbusd: to each of 16 sums add the products of four bytes without a sign and four with one."""
    function = _declare(builder, "llvm.x86.avx512.vpdpbusd.512", *4 * [i32x16.ir])
    return builder.call(function, [total, unsigned, signed])


def x86_nearest(builder: Any, vector: Any) -> Any:
    """vcvtps2dq: the nearest integers to 16 numbers, ties to even; -2^31 for what is none or too large."""
    name = "llvm.x86.avx512.mask.cvtps2dq.512"
    function = _declare(builder, name, i32x16.ir, f32x16.ir, i32x16.ir, I16, I32)
    return builder.call(function, [vector, ir.Constant(i32x16.ir, [0] * 16), I16(0xFFFF), I32(4)])


@operation(i32x16)
def zero_i32x16(builder: Any) -> Any:
    return ir.Constant(i32x16.ir, [0] * 16)


@operation(i32x16, i32x16)
def shift_left_8(builder: Any, vector: Any) -> Any:
    return builder.shl(vector, ir.Constant(i32x16.ir, [8] * 16))


@operation(i32x16, i32x16, i32x16)
def add_i32x16(builder: Any, a: Any, b: Any) -> Any:
    return builder.add(a, b)


@operation(f32x16, i32x16)
def as_numbers_f32x16(builder: Any, vector: Any) -> Any:
    """Integers as the nearest float32."""
    return builder.sitofp(vector, f32x16.ir)


@operation(f32x16, f32x16, f32x16)
def multiply_f32x16(builder: Any, a: Any, b: Any) -> Any:
    return builder.fmul(a, b)


@operation(types.void, types.int64, types.int32, types.int64)
def store_allowed(builder: Any, numbers: Any, bits: Any, to: Any) -> Any:
    """Of 32 float32 numbers store those whose bit is set, and minus infinity for the others."""
    form = ir.VectorType(F32, 32)
    loaded = builder.load(_pointer(builder, numbers, form))
    loaded.align = 4
    never = ir.Constant(form, [float("-inf")] * 32)
    allowed = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 32))
    return builder.store(builder.select(allowed, loaded, never), _pointer(builder, to, form), align=4)
