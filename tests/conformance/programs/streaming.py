"""Tokens arrive one by one, and each property is looked at after each of them."""

from openai_harmony import Role, StreamableParser, StreamState, load_harmony_encoding

encoding = load_harmony_encoding("HarmonyGptOss")
completion = (
    "<|channel|>analysis<|message|>Hm, 日本 and 👩‍👩‍👧.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    "<|start|>functions.f to=assistant<|channel|>commentary<|message|>ok<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Done"
)

for strict in (True, False):
    parser = StreamableParser(encoding, role=Role.ASSISTANT, strict=strict)
    print(parser.state, parser.current_role, parser.state_data)
    seen = parser.tokens
    for token in encoding.encode(completion, allowed_special="all"):
        assert parser.process(token) is parser
        print(
            token,
            parser.state,
            parser.current_role,
            parser.current_channel,
            parser.current_recipient,
            parser.current_content_type,
            repr(parser.current_content),
            repr(parser.last_content_delta),
        )
        if parser.state is not StreamState.CONTENT:
            print(parser.state_data)
    print(seen, len(parser.tokens), len(parser.messages))
    assert parser.process_eos() is parser
    print(parser.state, parser.messages)

parser = StreamableParser(encoding, None)
for token in encoding.encode("<|start|>user<|message|>Hi there<|end|>", allowed_special="all"):
    print(parser.process(token).state_data, parser.current_role)
print(parser.process_eos().process_eos().messages)
