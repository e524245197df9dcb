"""Each fault is caught by the class that the reference raises for it."""

from openai_harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncodingName,
    HarmonyError,
    Message,
    Role,
    StreamableParser,
    SystemContent,
    ToolDescription,
    load_harmony_encoding,
)

encoding = load_harmony_encoding("HarmonyGptOss")
nameless = Message.from_role_and_content(Role.TOOL, "x")
misplaced = Message.from_role_and_content(Role.USER, SystemContent.new())
nested = {"type": "string"}
for _ in range(60):
    nested = {"type": "array", "items": nested}


def asking(**parameters):
    tool = ToolDescription.new("f", "d", parameters)
    return Message.from_role_and_content(Role.DEVELOPER, DeveloperContent.new().with_function_tools([tool]))


def attempt(name, expected, call):
    try:
        call()
    except expected:
        print(name, "raised", expected.__name__)
    else:
        print(name, "passed")


for message in (nameless, misplaced, Message.from_role_and_content(Role.SYSTEM, DeveloperContent.new())):
    one = Conversation.from_messages([message])
    attempt("render", RuntimeError, lambda message=message: encoding.render(message))
    attempt("conversation", RuntimeError, lambda one=one: encoding.render_conversation(one))
    attempt("training", RuntimeError, lambda one=one: encoding.render_conversation_for_training(one))
    attempt(
        "completion",
        HarmonyError,
        lambda one=one: encoding.render_conversation_for_completion(one, Role.ASSISTANT),
    )
for number in (float("nan"), float("inf"), -float("inf"), 1.5):
    attempt("number", ValueError, lambda number=number: encoding.render(asking(default=number)))
attempt("nesting", ValueError, lambda: encoding.render(asking(items=nested)))
attempt("surrogate", ValueError, lambda: encoding.render(Message.from_role_and_content(Role.USER, "\ud800")))

attempt("encoding", ValueError, lambda: load_harmony_encoding("gpt-5"))
attempt("encoding name", ValueError, lambda: HarmonyEncodingName("gpt-5"))
attempt("role", ValueError, lambda: Role("robot"))
attempt("author", ValueError, lambda: Message.from_role_and_content("robot", "x"))
attempt("dictionary", ValueError, lambda: Message.from_dict({"role": "robot", "content": "x"}))
attempt("content", ValueError, lambda: Message.from_dict({"role": "user", "content": [{"type": "image"}]}))
attempt("no content", KeyError, lambda: Message.from_dict({"role": "user"}))
attempt("JSON", ValueError, lambda: Conversation.from_json("{"))
attempt("effort", ValueError, lambda: SystemContent(reasoning_effort="extreme"))
attempt("positional", TypeError, lambda: ToolDescription("f", "d"))
attempt("strict is named", TypeError, lambda: StreamableParser(encoding, None, True))
attempt("role is needed", TypeError, lambda: StreamableParser(encoding))
attempt("text for tokens", TypeError, lambda: StreamableParser(encoding, None).process("x"))
attempt("floats for tokens", TypeError, lambda: encoding.decode([1.5]))

STREAMS = {
    "no start": ([34], None),
    "end in a header": ([], Role.ASSISTANT),
    "words left": (
        encoding.encode("<|channel|>final a b c<|message|>", allowed_special="all"),
        Role.ASSISTANT,
    ),
    "no role": (encoding.encode("<|start|><|message|>", allowed_special="all"), None),
    "no channel": (encoding.encode("<|channel|><|message|>", allowed_special="all"), Role.ASSISTANT),
}
for name, (tokens, role) in STREAMS.items():
    attempt(
        name,
        HarmonyError,
        lambda tokens=tokens, role=role: encoding.parse_messages_from_completion_tokens(tokens, role),
    )
attempt("unknown token", HarmonyError, lambda: encoding.decode([201089]))
attempt("half a character", HarmonyError, lambda: encoding.decode_utf8([200]))
