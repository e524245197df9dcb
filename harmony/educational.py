"""The harmony format, to be read from top to bottom: conversations become tokens, tokens become messages.

This is the format once more, slow and as plain as it can be said; docs/format.md walks through it. It
shares only the vocabulary and the encoding of text with the rest of the package, so that the tests can hold
one against the other. A conversation is here the JSON that `Conversation.to_dict` writes.

It ends where the format ends: it does not check what it renders nor repair what it parses, and it writes
numbers as Python does (`harmony.numbers` tells where that differs).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from harmony.encoding import load_encoding
from harmony.vocabulary import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START

if TYPE_CHECKING:
    from collections.abc import Sequence

    Json = dict[str, Any]


def encode(text: str) -> list[int]:
    """The tokens of a text, whatever it spells: special tokens come from the format alone."""
    return load_encoding().encode(text, disallowed_special=())


# 1. A conversation: its messages, one behind the other, and then whose turn it is.


def render(conversation: Json, next_role: str | None = None, *, drop_analysis: bool = True) -> list[int]:
    """The tokens of the messages, and with `next_role` the prompt after which that one speaks."""
    messages = conversation["messages"]
    functions = any(declares_functions(content) for message in messages for content in message["content"])
    kept = without_finished_analysis(messages) if drop_analysis else messages
    tokens = [token for message in kept for token in render_message(message, functions=functions)]
    return tokens if next_role is None else [*tokens, START, *encode(next_role)]


def render_for_training(conversation: Json, *, drop_analysis: bool = True) -> list[int]:
    """As `render`, but an answer that ends the conversation ends with <|return|>, as it is sampled."""
    tokens = render(conversation, drop_analysis=drop_analysis)
    last = [(message["role"], message.get("channel")) for message in conversation["messages"][-1:]]
    return [*tokens[:-1], RETURN] if last == [("assistant", "final")] else tokens


def without_finished_analysis(messages: list[Json]) -> list[Json]:
    """Once the assistant has answered, what was thought before the first answer is dropped."""
    spoken = [message.get("channel") for message in messages if message["role"] == "assistant"]
    if spoken[-1:] != ["final"]:
        return messages
    answer = next(i for i, message in enumerate(messages) if message.get("channel") == "final")
    return [m for i, m in enumerate(messages) if i > answer or m.get("channel") != "analysis"]


# 2. A message: <|start|>author to=recipient<|channel|>channel <|constrain|>type<|message|>content<|end|>
#    Each piece is encoded by itself, because the tokens of two pieces are not those of the two joined.


def render_message(message: Json, *, functions: bool = False) -> list[int]:
    """The tokens of a message; `functions` tells whether the conversation declares some."""
    role, name, recipient = message["role"], message["name"], message.get("recipient")
    tokens = [START, *encode(name if role == "tool" else role)]
    if name is not None and role != "tool":
        tokens += encode(f":{name}")
    if recipient not in (None, "all"):
        tokens += encode(f" to={recipient}")
    if "channel" in message:
        tokens += [CHANNEL, *encode(message["channel"])]
    kind = message.get("content_type")
    if kind is not None and kind.startswith("<|constrain|>"):
        tokens += [*encode(" "), CONSTRAIN, *encode(kind.removeprefix("<|constrain|>"))]
    elif kind is not None:
        tokens += encode(f" {kind}")
    tokens.append(MESSAGE)
    for content in message["content"]:
        tokens += encode(content_text(content, functions))
    return [*tokens, CALL if role == "assistant" and recipient is not None else END]


def content_text(content: Json, functions: bool) -> str:
    """Text as it stands, what the model is told about itself, or what the application tells it."""
    if content["type"] == "text":
        return str(content["text"])
    if content["type"] == "system_content":
        return "\n\n".join(system_sections(content, functions))
    instructions = ["# Instructions", content["instructions"]] if "instructions" in content else []
    return "\n\n".join([*instructions, *tools_sections(content)])


def declares_functions(content: Json) -> bool:
    """Whether this is content of the developer with a function in the namespace `functions`."""
    namespaces = content.get("tools", {}) if content["type"] == "developer_content" else {}
    return bool(namespaces.get("functions", {}).get("tools"))


def system_sections(system: Json, functions: bool) -> list[str]:
    """Who the model is, how hard it should think, its built-in tools, the channels it may use."""
    labels = {"knowledge_cutoff": "Knowledge cutoff: ", "conversation_start_date": "Current date: "}
    about = [system["model_identity"]] if "model_identity" in system else []
    about += [label + system[field] for field, label in labels.items() if field in system]
    sections = ["\n".join(about)] if about else []
    sections += [f"Reasoning: {system['reasoning_effort'].lower()}"] if "reasoning_effort" in system else []
    sections += tools_sections(system)
    channels = system.get("channel_config", {"valid_channels": []})
    if channels["valid_channels"]:
        required = " Channel must be included for every message." if channels["channel_required"] else ""
        calls = "\nCalls to these tools must go to the commentary channel: 'functions'." if functions else ""
        sections.append(f"# Valid channels: {', '.join(channels['valid_channels'])}.{required}{calls}")
    return sections


# 3. Tools: namespaces of TypeScript functions, whose arguments have the types that JSON schemas describe.


def tools_sections(content: Json) -> list[str]:
    """The namespaces, in the order of their keys."""
    namespaces = [namespace_text(namespace) for _, namespace in sorted(content.get("tools", {}).items())]
    return ["# Tools", *namespaces] if namespaces else []


def namespace_text(namespace: Json) -> str:
    """A heading, the description, and the functions; without functions, the description is no comment."""
    name, described = namespace["name"], comment(namespace.get("description", ""))
    if not namespace["tools"]:
        return "\n".join([f"## {name}\n", *(line.removeprefix("// ") for line in described)])
    lines = [f"## {name}\n", *described, f"namespace {name} {{\n"]
    for tool in namespace["tools"]:
        argument = f"_: {type_text(tool['parameters'])}" if "parameters" in tool else ""
        lines += [*comment(tool["description"]), f"type {tool['name']} = ({argument}) => any;\n"]
    return "\n".join([*lines, f"}} // namespace {name}"])


def comment(text: str) -> list[str]:
    """The lines of a text, each behind slashes."""
    return [re.sub(r"\r?\n\Z", "", f"// {line}") for line in re.findall(r"[^\n]*\n|[^\n]+", text)]


def type_text(schema: Json, indent: str = "") -> str:
    """The type that a schema describes; much of what JSON schema can say leaves no trace."""
    kind = schema.get("type", "any")
    if "oneOf" in schema:
        text = ""
        for variant in schema["oneOf"]:
            said = note(variant.get("description"), default(variant, quoted=True))
            text += f"\n{indent} | {nullable(variant, f'{indent}   ')}{said}"
        return text
    if isinstance(kind, list):
        return " | ".join("number" if name == "integer" else name for name in kind) or "any"
    if kind == "object":
        head = f"{indent}// {schema['description']}\n" if "description" in schema else ""
        required = schema.get("required", [])
        properties = [(k if k in required else f"{k}?", v) for k, v in schema.get("properties", {}).items()]
        lines = [line for key, value in properties for line in property_lines(key, value, indent)]
        return "".join([head, "{\n", *(f"{indent}{line}\n" for line in lines), f"{indent}}}"])
    if kind == "array":
        return type_text(schema["items"], indent) + "[]" if "items" in schema else "Array<any>"
    if kind == "string":
        return " | ".join(f'"{name}"' for name in schema.get("enum", [])) or "string"
    return {"number": "number", "integer": "number", "boolean": "boolean"}.get(kind, "any")


def property_lines(key: str, schema: Json, indent: str) -> list[str]:
    """A property below what is said about it."""
    described, examples, variants = schema.get("description"), schema.get("examples"), schema.get("oneOf")
    lines = [f"// {schema['title']}", "//"] if "title" in schema else []
    lines += [f"// {described}"] if described is not None and variants is None else []
    lines += ["// Examples:"] if examples else []
    lines += [f'// - "{example}"' for example in examples or [] if isinstance(example, str)]
    if variants is None:
        return [*lines, f"{key}: {nullable(schema, f'{indent}    ')},{note(default(schema))}"]
    above = described is not None and [v.get("description") for v in variants[:1]] != [described]
    lines += [f"// {described}"] if above else []
    lines += [f"// {default(schema)}"] if "default" in schema else []
    lines.append(f"{key}:")
    for index, variant in enumerate(variants):
        said = variant.get("description")
        said = None if said == described or (above and index == 0) else said
        lines.append(f" | {nullable(variant, f'{indent}   ')}{note(said, default(variant))}")
    return [*lines, ","]


def nullable(schema: Json, indent: str) -> str:
    """The type, which may also be null if the schema says so and the type does not."""
    text = type_text(schema, indent)
    return f"{text} | null" if schema.get("nullable") is True and "null" not in text else text


def default(schema: Json, *, quoted: bool = False) -> str | None:
    """What holds if nothing is given; a member of an enum has no quotes, unless it is `quoted`."""
    value = schema.get("default")
    if isinstance(value, str) and not (quoted and schema.get("enum")):
        return f"default: {value}" if schema.get("enum") else f'default: "{value}"'
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"default: {text}" if "default" in schema else None


def note(*parts: str | None) -> str:
    """A comment at the end of a line."""
    said = [part for part in parts if part is not None]
    return f" // {' '.join(said)}" if said else ""


# 4. Back: each message is a header up to <|message|>, and a text up to a stop token or the end.


def parse(tokens: Sequence[int], role: str | None = None) -> list[Json]:
    """The messages in well-formed tokens, which go on after <|start|> and `role` if that is given."""
    rest, messages = [*tokens] if role is None else [START, *encode(role), *tokens], []
    while rest:
        opened = rest.index(MESSAGE)
        stop = next((i for i, token in enumerate(rest) if token in (RETURN, END, CALL)), len(rest))
        text = load_encoding().decode(rest[opened + 1 : stop])
        header = parse_header(load_encoding().decode(rest[1:opened]))
        messages.append({**header, "content": [{"type": "text", "text": text}]})
        rest = rest[stop + 1 :]
    return messages


def parse_header(header: str) -> Json:
    """Who speaks, to whom, on which channel, in which type of content; to= may come before or after it."""
    channel = re.search(r"<\|channel\|>([^\s<]*)", header)
    marked = header.replace(channel[0], " ") if channel else header
    author, *words = marked.replace("<|constrain|>", " <|constrain|>").split()
    role, _, name = author.partition(":")
    known = role in ("system", "developer", "user", "assistant")
    fields: Json = {"role": role, "name": name or None} if known else {"role": "tool", "name": author}
    fields |= {"channel": channel[1]} if channel else {}
    for word in words:
        fields["recipient" if word.startswith("to=") else "content_type"] = word.removeprefix("to=")
    return fields
