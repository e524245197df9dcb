"""Programs derive classes from those of the package, and change objects in place."""

from enum import Enum

from openai_harmony import (
    Author,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    load_harmony_encoding,
)

encoding = load_harmony_encoding("HarmonyGptOss")


class Channel(str, Enum):  # noqa: UP042 - as programs have it
    FINAL = "final"


class Quote(Content):
    """Content that only its own class knows how to write."""

    text: str

    def to_dict(self):
        return {"type": "text", "text": f"> {self.text}"}


class Shout(TextContent):
    volume: int = 11

    def loud(self):
        return Shout(text=self.text.upper())


class Policy(DeveloperContent):
    level: int = 1

    def to_dict(self):
        return {"type": "developer_content", "instructions": f"Level {self.level}. {self.instructions}"}


class Note(Message):
    seen: bool = False

    @property
    def text(self):
        return "".join(part.text for part in self.content)


note = Note.from_role_and_content(Role.USER, "hi").with_channel(Channel.FINAL).with_recipient(Channel.FINAL)
note.seen = True
print(type(note).__name__, note.text, note.seen, note.channel == "final", encoding.render(note))
print(type(Note.from_dict(note.to_dict())).__name__)
print(note.adding_content(Shout(text=" there").loud()).to_json())

message = Message.from_role_and_contents(Role.USER, [Quote(text="a"), Shout(text="b"), TextContent(text="c")])
print(message.to_dict(), encoding.decode(encoding.render(message)))
print([type(part).__name__ for part in message.content])
policy = Message.from_role_and_content(Role.DEVELOPER, Policy(instructions="Be kind.", level=2))
print(encoding.decode(encoding.render_conversation(Conversation.from_messages([policy, note]))))

system = SystemContent.new()
system.model_identity = "You are you."
system.knowledge_cutoff = None
system.channel_config.valid_channels.append("thoughts")
system.channel_config.channel_required = False
system.with_conversation_start_date(Channel.FINAL)
print(encoding.decode(encoding.render(Message.from_role_and_content(Role.SYSTEM, system))))

message = Message.from_role_and_content("user", "first")
print(message.author)
message.author = Author(role=Role.ASSISTANT)
message.content[0].text = "second"
message.content.insert(0, TextContent(text="zeroth, "))
message.channel = "final"
print(message, encoding.decode(encoding.render(message)))
message.author.role, message.author.name = Role.TOOL, "functions.f"
print(encoding.decode(encoding.render(message)))

parameters = {"type": "object", "properties": {}}
tool = ToolDescription.new("f", "d", parameters)
developer = DeveloperContent.new().with_function_tools([tool])
tool.parameters["properties"]["x"] = {"type": "string"}
print(encoding.decode(encoding.render(Message.from_role_and_content(Role.DEVELOPER, developer))))
print(message == message.model_copy(), message == Message.from_role_and_content(Role.USER, "second"))
