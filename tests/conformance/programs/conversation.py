"""A chat with a function, rendered for completion, for training, and as it stands."""

from openai_harmony import (
    Author,
    Conversation,
    DeveloperContent,
    HarmonyEncodingName,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    load_harmony_encoding,
)

encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
print(encoding.name, sorted(encoding.stop_tokens()), sorted(encoding.stop_tokens_for_assistant_actions()))

system = (
    SystemContent.new()
    .with_reasoning_effort(ReasoningEffort.HIGH)
    .with_conversation_start_date("2025-06-28")
    .with_knowledge_cutoff("2024-06")
)
weather = ToolDescription.new(
    "get_current_weather",
    "Gets the current weather in the provided location.\nSlow.",
    parameters={
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "A city", "examples": ["Paris", "東京"]},
            "format": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"], "default": 1.5},
            "near": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
        },
        "required": ["location"],
    },
)
nothing = ToolDescription.new("get_location", "Gets the location of the user.")
developer = DeveloperContent.new().with_instructions("Be brief.\n").with_function_tools([weather, nothing])

conversation = Conversation.from_messages(
    [
        Message.from_role_and_content(Role.SYSTEM, system),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        Message.from_role_and_content(Role.USER, "What is the weather in Tokyo?"),
        Message.from_role_and_content(Role.ASSISTANT, "Use the function.").with_channel("analysis"),
        Message.from_role_and_content(Role.ASSISTANT, '{"location": "Tokyo"}')
        .with_channel("commentary")
        .with_recipient("functions.get_current_weather")
        .with_content_type("<|constrain|>json"),
        Message.from_author_and_content(
            Author.new(Role.TOOL, "functions.get_current_weather"), '{"temperature": 20}'
        )
        .with_recipient("assistant")
        .with_channel("commentary"),
        Message.from_role_and_contents(
            Role.ASSISTANT, [TextContent(text="It is 20 "), TextContent(text="degrees.")]
        ).with_channel("final"),
        Message.from_role_and_content(Role.USER, "<|end|> and tomorrow?"),
    ]
)

for config in (None, RenderConversationConfig(), RenderConversationConfig(auto_drop_analysis=False)):
    print(encoding.render_conversation_for_completion(conversation, Role.ASSISTANT, config=config))
    print(encoding.render_conversation_for_training(conversation, config))
    print(encoding.decode(encoding.render_conversation(conversation, config=config)))
for turn in Role:
    print(turn, encoding.render_conversation_for_completion(Conversation(), turn)[-2:])
for message in conversation:
    print(message.author.role, message.channel, encoding.render(message))
    print(encoding.render(message, RenderOptions(conversation_has_function_tools=True)))
conversation.messages.pop()
print(encoding.render_conversation_for_training(conversation)[-5:])
