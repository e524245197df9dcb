"""Every way to offer tools to the model."""

from openai_harmony import (
    ChannelConfig,
    DeveloperContent,
    Message,
    RenderOptions,
    Role,
    SystemContent,
    ToolDescription,
    ToolNamespaceConfig,
    load_harmony_encoding,
)

encoding = load_harmony_encoding("HarmonyGptOss")
functions = RenderOptions(conversation_has_function_tools=True)


def show(content):
    role = Role.SYSTEM if isinstance(content, SystemContent) else Role.DEVELOPER
    print(repr(content))
    print(encoding.decode(encoding.render(Message.from_role_and_content(role, content), functions)))


show(SystemContent.new().with_browser_tool().with_python_tool())
show(DeveloperContent.new().with_tools(ToolNamespaceConfig.browser()))
show(SystemContent(model_identity=None, reasoning_effort=None, knowledge_cutoff=None, channel_config=None))
show(SystemContent.new().with_required_channels(["final"]).with_model_identity("I am nobody."))
show(
    SystemContent.new().with_channel_config(ChannelConfig(valid_channels=["a", "b"], channel_required=False))
)

empty = ToolNamespaceConfig(name="empty", tools=[])
described = ToolNamespaceConfig(name="notes", description="Keeps notes.\n\nWell.", tools=[])
show(DeveloperContent.new().with_tools(empty).with_tools(described))

one = ToolDescription(name="one", description="")
two = ToolDescription.new("two", "Two\r\nlines", {"type": "object", "properties": {"x": {"type": "number"}}})
developer = DeveloperContent.new().with_function_tools([one]).with_function_tools((two, one))
show(developer)
developer.tools["functions"].tools.append(ToolDescription(name="three", description="d", parameters={}))
developer.tools["Zoo"] = ToolNamespaceConfig(name="animals", description="All of them.", tools=[two])
show(developer)
print(developer.tools["functions"].tools[0].model_dump())
print(ToolNamespaceConfig.python() == ToolNamespaceConfig.python())
