"""A loop as in the reference's readme: sample, run the tool, sample again, answer."""

import json

import openai_harmony
from openai_harmony import Author, Conversation, Message, Role, StreamableParser, SystemContent

encoding = openai_harmony.load_harmony_encoding(openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
stop = set(encoding.stop_tokens_for_assistant_actions())
SAMPLED = [
    "<|channel|>analysis<|message|>Call it.<|end|><|start|>assistant<|channel|>commentary to=functions.add "
    '<|constrain|>json<|message|>{"a": 2, "b": 3}<|call|> never read',
    "<|channel|>final<|message|>It is 5.<|return|>",
]

tool = openai_harmony.ToolDescription.new("add", "Adds.", {"type": "object"})
conversation = Conversation.from_messages(
    [
        Message.from_role_and_content(Role.SYSTEM, SystemContent.new()),
        Message.from_role_and_content(
            Role.DEVELOPER, openai_harmony.DeveloperContent.new().with_function_tools([tool])
        ),
        Message.from_role_and_content(Role.USER, "2 + 3?"),
    ]
)
for sampled in SAMPLED:
    prompt = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)
    print(len(prompt), prompt)
    parser = StreamableParser(encoding, role=Role.ASSISTANT)
    for token in encoding.encode(sampled, allowed_special="all"):
        parser.process(token)
        if parser.last_content_delta:
            print(parser.current_channel, parser.current_recipient, repr(parser.last_content_delta))
        if token in stop:
            break
    conversation.messages.extend(parser.messages)
    last = conversation.messages[-1]
    if last.recipient and last.recipient.startswith("functions."):
        answer = json.dumps(sum(json.loads(last.content[0].text).values()))
        author = Author.new(Role.TOOL, last.recipient)
        conversation.messages.append(
            Message.from_author_and_content(author, answer)
            .with_recipient("assistant")
            .with_channel("commentary")
        )
print(conversation.to_json())
print(encoding.decode(encoding.render_conversation_for_training(conversation)))
