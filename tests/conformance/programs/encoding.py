"""Text to tokens and back, with special tokens and without."""

from openai_harmony import HarmonyError, load_harmony_encoding, raise_disallowed_special_token

encoding = load_harmony_encoding("HarmonyGptOss")
print(len(encoding.special_tokens_set), sorted(encoding.special_tokens_set)[:12])
for text in [
    "hello world",
    "",
    "日本語 é 👩‍👩‍👧",
    "a\r\n\tb",
    "<|nothing|>",
    "\ud83d\ude00",
    "half \ud83d!",
    "x" * 99,
]:
    tokens = encoding.encode(text)
    print(tokens, ascii(encoding.decode(tokens)), ascii(encoding.decode_utf8(tokens)))

marked = "<|start|>assistant<|message|><|reserved_200500|><|end|>"
print(encoding.encode(marked, allowed_special="all"), encoding.encode(marked, disallowed_special=()))
print(encoding.encode("<|start|><|end|>", allowed_special={"<|start|>"}, disallowed_special=()))
print(
    encoding.encode("<|end|>", disallowed_special={"<|start|>"}), encoding.encode("x", allowed_special={"x"})
)
for arguments in (
    {},
    {"allowed_special": {"<|start|>"}},
    {"disallowed_special": encoding.special_tokens_set - {"<|start|>", "<|message|>"}},
    {"disallowed_special": ["assistant"]},
):
    try:
        print(encoding.encode(marked, **arguments))
    except HarmonyError as error:
        print("refused", arguments.keys(), isinstance(error, RuntimeError))
try:
    raise_disallowed_special_token("<|end|>")
except HarmonyError as error:
    print("<|end|>" in str(error))

for tokens in ([200006, 200018, 201088], (9552, 97), [200], iter([1, 2]), [True]):
    print(ascii(encoding.decode(tokens)))
print(ascii(encoding.decode([200, 34], errors="ignore")))
for call in (encoding.decode_utf8, lambda tokens: encoding.decode(tokens, errors="strict")):
    try:
        call([200])
    except (HarmonyError, UnicodeDecodeError) as error:
        print(type(error).__name__)
print([encoding.is_special_token(token) for token in (0, 199997, 199998, 200002, 201088, 201089)])
