"""Arithmetic questions: an expression as a person may type it, and as python computes it."""

from random import Random

OPERATORS = ("+", "-", "*", "/", "//", "%")
SPOKEN = {
    "+": ("+", "+", "plus", "added to"),
    "-": ("-", "-", "−", "minus"),
    "*": ("*", "*", "×", "x", "times", "multiplied by"),
    "/": ("/", "/", "÷", "divided by", "over"),
    "//": ("//",),
    "%": ("%", "%", "mod", "modulo"),
}
NAMED = (
    ("the sum of {a} and {b}", "{a} + {b}"),
    ("the product of {a} and {b}", "{a} * {b}"),
    ("the difference between {a} and {b}", "{a} - {b}"),
    ("the difference of {a} and {b}", "{a} - {b}"),
    ("the quotient of {a} and {b}", "{a} / {b}"),
    ("the remainder of {a} divided by {b}", "{a} % {b}"),
    ("the square of {a}", "{a} ** 2"),
    ("{a} squared", "{a} ** 2"),
    ("{a} cubed", "{a} ** 3"),
    ("{a} to the power of {p}", "{a} ** {p}"),
    ("{a} ** {p}", "{a} ** {p}"),
    ("{a}^{p}", "{a} ** {p}"),
)
ASKED = (
    "What is {e}?",
    "What is {e}?",
    "What is {e}?",
    "What is {e}",
    "what is {e}?",
    "what is {e}",
    "What's {e}?",
    "what's {e}?",
    "What does {e} equal?",
    "What is the result of {e}?",
    "What do you get for {e}?",
    "How much is {e}?",
    "how much is {e}",
    "{e}",
    "{e}?",
    "{e} =",
    "{e} = ?",
    "Compute {e}.",
    "Compute {e}",
    "compute {e}",
    "Please compute {e}.",
    "Calculate {e}.",
    "Calculate {e}",
    "calculate {e}",
    "Please calculate {e}",
    "Can you calculate {e}?",
    "Can you compute {e} for me?",
    "Could you work out {e}?",
    "Work out {e}.",
    "work out {e}",
    "Evaluate {e}.",
    "Evaluate {e}",
    "Solve {e}.",
    "Find {e}.",
    "Tell me {e}.",
    "Tell me what {e} is.",
    "I need {e}.",
    "I want to know {e}.",
    "Give me {e}, please.",
    "Hi! What is {e}?",
    "Hello, can you compute {e}?",
    "Use python to compute {e}.",
    "Use Python: {e}",
    "And what is {e}?",
    "Now compute {e}.",
    "What about {e}?",
)


def number(random: Random) -> int:
    """An integer of one to eight digits, every length up to six equally likely; some repeat themselves."""
    digits = random.choice((1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7, 8))
    if digits > 1 and random.random() < 0.08:
        unit = random.choice((str(random.randrange(1, 10)), str(random.randrange(100, 1000))))
        return int((unit * digits)[:digits])
    return random.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def question(random: Random) -> tuple[str, str]:
    """A question and the Python expression that answers it."""
    spoken, code = _expression(random)
    return random.choice(ASKED).format(e=spoken), code


def result(code: str) -> str:
    """What the python tool prints for an expression of this module."""
    try:
        return repr(eval(code, {"__builtins__": {}}))
    except ZeroDivisionError as error:
        where = f'  File "<cell 1>", line 1, in <module>\n    {code}\n    {"~" * len(code)}'
        return f"Traceback (most recent call last):\n{where}\nZeroDivisionError: {error}"


def _expression(random: Random) -> tuple[str, str]:
    kind = random.random()
    if kind < 0.10:
        a, b, power = number(random), number(random), random.randrange(2, 7)
        spoken, code = random.choice(NAMED)
        if "**" in code:
            a = random.randrange(1000)
        if code.endswith(("/ {b}", "% {b}")):
            b = max(b, 1)
        return spoken.format(a=a, b=b, p=power), code.format(a=a, b=b, p=power)
    if kind < 0.80:
        return _chain(random, [number(random), _second(random)])
    if kind < 0.93:
        return _chain(random, [number(random), _second(random), _second(random)])
    return _bracketed(random)


def _second(random: Random) -> int:
    return number(random) if random.random() < 0.98 else 0


def _chain(random: Random, numbers: list[int]) -> tuple[str, str]:
    operators = [random.choice(OPERATORS) for _ in numbers[1:]]
    words = [random.choice(SPOKEN[operator]) for operator in operators]
    tight = random.random() < 0.2 and not any(word.isalpha() or " " in word for word in words)
    gap = "" if tight else " "
    first = f"-{numbers[0]}" if random.random() < 0.04 else str(numbers[0])
    spoken = first + "".join(f"{gap}{w}{gap}{n}" for w, n in zip(words, numbers[1:], strict=True))
    code = first + "".join(f" {o} {n}" for o, n in zip(operators, numbers[1:], strict=True))
    return spoken, code


def _bracketed(random: Random) -> tuple[str, str]:
    a, b, c = number(random), number(random), number(random)
    inner, outer = random.choice("+-"), random.choice("*/%")
    text = f"({a} {inner} {b}) {outer} {c}" if random.random() < 0.5 else f"{c} {outer} ({a} {inner} {b})"
    return (text.replace("*", "×") if random.random() < 0.1 else text), text
