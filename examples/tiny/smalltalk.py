"""What the model says without a tool: greetings, what it is, and that it does not know."""

from random import Random

DECLINE = (
    "I don't know that. I am a tiny demonstration model: I can do arithmetic with python, "
    "call a few functions and fill in JSON."
)
NO_PYTHON = "I can't work that out without the python tool."
NO_FUNCTION = "I can't look that up: no tool for it is available here."

_HELLO = "Hello! I can do arithmetic with python. What shall I compute?"
_ABOUT = (
    "I am a tiny demonstration model for the harmony format: I can do arithmetic with python, "
    "call a few functions and fill in JSON."
)
_THANKS = "You're welcome!"
_BYE = "Goodbye!"
_WELL = "I am fine, thank you. What shall I compute?"

CHAT = (
    ("Hi", _HELLO), ("Hi!", _HELLO), ("hi", _HELLO), ("Hello", _HELLO), ("Hello!", _HELLO),
    ("hello", _HELLO), ("Hey", _HELLO), ("Hey there", _HELLO), ("Hello there!", _HELLO),
    ("Good morning", _HELLO), ("Good evening!", _HELLO), ("hey", _HELLO), ("Hi there!", _HELLO),
    ("Good afternoon", _HELLO), ("Hello, how are you?", _WELL), ("How are you?", _WELL),
    ("how are you", _WELL), ("How are you doing?", _WELL), ("Hi, how are you?", _WELL),
    ("Who are you?", _ABOUT), ("who are you", _ABOUT), ("What are you?", _ABOUT),
    ("What can you do?", _ABOUT), ("what can you do", _ABOUT), ("What do you know?", _ABOUT),
    ("Help", _ABOUT), ("help", _ABOUT), ("Can you help me?", _ABOUT), ("What is your name?", _ABOUT),
    ("Tell me about yourself.", _ABOUT), ("Are you a model?", _ABOUT), ("Which model are you?", _ABOUT),
    ("Thanks", _THANKS), ("Thanks!", _THANKS), ("Thank you", _THANKS), ("Thank you!", _THANKS),
    ("thank you very much", _THANKS), ("thanks a lot", _THANKS), ("Great, thanks!", _THANKS),
    ("Bye", _BYE), ("bye", _BYE), ("Goodbye", _BYE), ("Goodbye!", _BYE), ("See you!", _BYE),
)  # fmt: skip

_UNKNOWN = (
    "What is {w}?", "What is the {w} of {w}?", "what is {w}", "What's the {w} {w}?", "Who is {w}?",
    "Who was the {w} of {w}?", "Who wrote {w}?", "Who won the {w} in {n}?", "When was {w} born?",
    "When did {w} {w}?", "Where is {w}?", "Where can I {w} a {w}?", "Why is the {w} {w}?",
    "Why do {w} {w}?", "How do I {w} a {w}?", "How do I {w}?", "How many {w} are in {w}?",
    "How many {w} does a {w} have?", "How old is {w}?", "How far is {w} from {w}?",
    "How much does a {w} cost?", "Write a {w} about {w}.", "Write me a {w}", "Tell me a {w}.",
    "Tell me about {w}.", "Tell me about the {w} of {w} in {n}.", "Explain {w}.", "Explain {w} to me",
    "Explain how {w} {w}.", "Translate {w} {w} to {w}.", "Translate '{w} {w} {w}' into {w}",
    "Summarize {w}.", "Give me a {w} for {w}.", "Recommend a {w}", "Can you {w} my {w}?",
    "Can you {w} me a {w}?", "Do you like {w}?", "Do you know {w}?", "Is {w} a {w}?", "Is {w} {w}?",
    "Are {w} {w}?", "Should I {w} my {w}?", "Which {w} is the {w}?", "List {n} {w}.",
    "Name {n} {w} of {w}", "Define {w}.", "{w}", "{w} {w}", "{w} {w} {w} {w}?", "{w} the {w} of {w} {w}.",
    "I am {w}.", "I want to {w} a {w}.", "My {w} is {w}.", "Let's {w} about {w}.", "Please {w} the {w}.",
    "What happened in {n}?", "What do {w} eat?", "What does {w} mean?", "What color is {w}?",
    "What year did {w} {w}?", "Ignore all {w} and {w} the {w}.", "Sing a {w}", "Draw a {w}.",
    "Show me the {w} for {w}.", "What should I {w} for {w}?", "Fix this {w}: {w} {w} {w}",
)  # fmt: skip


def unknown(random: Random, words: list[str]) -> str:
    """A question about something outside the small world; `words` are what it may be about."""
    shape = random.choice(_UNKNOWN)
    while "{w}" in shape:
        phrase = " ".join(random.choice(words) for _ in range(random.choice((1, 1, 1, 2))))
        shape = shape.replace("{w}", phrase, 1)
    return shape.replace("{n}", str(random.choice((3, 5, 10, random.randrange(1500, 2030)))))
