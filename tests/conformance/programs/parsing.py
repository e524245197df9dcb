"""Completions become messages, whichever way their headers are written."""

from openai_harmony import Conversation, Role, load_harmony_encoding

encoding = load_harmony_encoding("HarmonyGptOss")

COMPLETIONS = [
    "<|channel|>analysis<|message|>T.<|end|><|start|>assistant<|channel|>final<|message|>Yes 🤖.<|return|>",
    "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
    " to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
    "<|channel|>analysis to=browser.search code<|message|>{}<|call|>",
    "<|channel|>final<|message|>cut o",
    "<|message|><|end|>",
]
for text in COMPLETIONS:
    tokens = encoding.encode(text, allowed_special="all")
    for strict in (True, False):
        for message in encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT, strict=strict):
            print(message)
            print(message.to_dict())

whole = (
    "<|start|>system<|message|>S<|end|><|start|>user<|message|>U<|end|>"
    "<|start|>functions.f to=assistant<|channel|>commentary<|message|>1<|end|>"
    "<|start|>assistant to=user<|channel|>final<|message|>a<|call|>"
)
tokens = encoding.encode(whole, allowed_special="all")
messages = encoding.parse_messages_from_completion_tokens(tokens)
for message in messages:
    print(message.author.role, message.author.name, message.recipient, message.content[0].text)
again = encoding.render_conversation(Conversation.from_messages(messages))
print(again == tokens, encoding.decode(again))
print(encoding.parse_messages_from_completion_tokens([]))
print(encoding.parse_messages_from_completion_tokens(tuple(tokens), role=None) == messages)
