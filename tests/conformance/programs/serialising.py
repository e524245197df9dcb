"""Conversations go to JSON and dictionaries, and come back."""

import copy
import json
import pickle

from openai_harmony import (
    Author,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    StreamState,
    SystemContent,
    TextContent,
    ToolDescription,
)

tool = ToolDescription.new(
    "f", "d", {"type": "object", "properties": {"a": {"default": None}}, "x": [1, 2.5]}
)
conversation = Conversation(
    messages=[
        Message.from_role_and_content(Role.SYSTEM, SystemContent.new().with_python_tool()),
        Message.from_role_and_content(Role.DEVELOPER, DeveloperContent.new().with_function_tools([tool])),
        Message.from_role_and_content(Role.USER, "é 日本 \n"),
        Message.from_author_and_content(Author.new(Role.TOOL, "functions.f"), TextContent(text="1"))
        .with_recipient("assistant")
        .with_channel("commentary")
        .with_content_type("json"),
    ]
)
print(conversation)
print(conversation.to_json())
print(conversation.to_dict())
again = Conversation.from_json(conversation.to_json())
print(again == conversation, again.to_json() == conversation.to_json(), len(list(again)))
for message in conversation:
    print(message.to_json())
    print(Message.from_dict(json.loads(message.to_json())) == message)
    print(Message.from_dict(message.to_dict()) == message, copy.deepcopy(message) == message)
    print(pickle.loads(pickle.dumps(message)) == message, message.model_copy(deep=True) == message)
print(Message.from_dict({"role": "user", "content": "hi", "recipient": "all"}))
print(
    Message.from_dict({"role": "tool", "name": "f", "content": [{"type": "text", "text": "hi", "more": 1}]})
)
print(Message(author={"role": "user"}).to_dict(), Message(author=Author(role=Role.USER), content=[]))

system = SystemContent.new()
print(system.to_dict(), SystemContent.from_dict(system.to_dict()) == system)
print(SystemContent.from_dict({"reasoning_effort": "Low", "tools": None}))
print(DeveloperContent.from_dict({"instructions": "Be kind."}).to_dict(), DeveloperContent().to_dict())

for enum in (Role, ReasoningEffort, StreamState):
    for member in enum:
        print(member, repr(member), f"{member}", member.value, enum(member.value) is member)
print(json.dumps({"role": Role.USER}), Role.USER == "user", {"user": 1}[Role.USER], Role.TOOL.upper())
