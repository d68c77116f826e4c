"""Messages of dialogues: checked, and brought to one form from the spellings in use."""

from typing import Any

from gcrm.data.fields import is_metadata
from gcrm.utils.errors import UserError

Message = dict[str, Any]
"""One turn: `role` (a value of ROLES), `content` (text or None), and the fields beside them
that hold text and are not metadata, such as `tool_calls`: a chat template may show them."""
Prompt = str | list[Message]
"""A question, or the turns of a dialogue before the completion."""

ROLES = {
    **{name: name for name in ("system", "developer", "user", "assistant", "tool", "function")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot"), "assistant"),
}
"""names of roles in data sets, in small letters, and the role that chat templates know"""
TEXTS = ("text", "input_text", "output_text")
"""types of parts of a content that are text"""
MEANT = {
    *("tool_calls", "function_call", "name", "reasoning_content", "reasoning", "thinking"),
    *("images", "image", "audio", "video"),
}
"""fields by which a message says more than its text: they are shown to the model, or refused"""
KNOWN = {*MEANT, "tool_call_id"}
"""fields that templates know, whatever is in them"""
SPELLINGS = (("role", "content"), ("from", "value"))
"""keys of a message; the second pair is ShareGPT's"""


def read_messages(messages: Any, column: str, where: str) -> list[Message]:
    """Bring the messages of a column to one form; a single message may stand without a list.

    Content that is a list of parts becomes their texts, joined by line breaks. Content may be null
    beside another field, such as the `tool_calls` of an assistant.

    Raises:
        UserError: a role is unknown, or content is not text; `where` names the row.
    """
    if isinstance(messages, dict):
        messages = [messages]
    if not isinstance(messages, list):
        raise UserError(f"{where}: {column} must be text, or a list of messages")
    return [
        _read_message(message, f"{where}: {column}, message {number}")
        for number, message in enumerate(messages, start=1)
    ]


def checked_completion(completion: Any, where: str) -> str:
    """A completion that a caller gives.

    Raises:
        UserError: it is not text.
    """
    if not isinstance(completion, str):
        raise UserError(
            f"{where}: a completion must be text, not {type(completion).__name__}; of a message, "
            "give the content"
        )
    return completion


def unread_fields(value: Any) -> list[str]:
    """Fields beside the text of an answer, or of the last of several messages, that hold text."""
    message = value[-1] if value and isinstance(value, list) else value
    if not isinstance(message, dict):
        return []
    known = {*MEANT, *(key for keys in SPELLINGS for key in keys)}
    return [key for key, one in message.items() if key not in known and not is_metadata(key, one)]


def read_answer(message: Message, column: str, where: str) -> str:
    """The text of the last message of a dialogue, which is the completion.

    Raises:
        UserError: it is not the assistant's, is empty, or says more than its text.
    """
    if message["role"] != "assistant":
        raise UserError(
            f"{where}: {column}: the last message has the role {message['role']}, not assistant"
        )
    if others := MEANT & message.keys():
        raise UserError(
            f"{where}: {column}: the answer has the field {min(others)} beside its text, which "
            "would be lost: only text is scored; write it into the content, or leave out the row"
        )
    if not message["content"].strip():
        raise UserError(f"{where}: {column}: the answer is empty; leave out the row")
    return str(message["content"])


def messages_of(prompt: Prompt) -> list[Message]:
    """The messages of a prompt; a question is the user's."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def with_system(system: str | None, prompt: Prompt, where: str) -> Prompt:
    """The prompt with a system message before it, unless it begins with this one.

    Raises:
        UserError: it begins with another one.
    """
    if system is None:
        return prompt
    turns = messages_of(prompt)
    if turns[0]["role"] not in ("system", "developer"):
        return [{"role": "system", "content": system}, *turns]
    if turns[0]["content"].strip() != system.strip():
        raise UserError(
            f"{where}: the column of the system message, and the first message, say different "
            "things; keep one of them"
        )
    return turns


def text_of(prompt: Prompt) -> str:
    """The contents of a prompt as one text."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(turn["content"] or "" for turn in prompt)


def _read_message(message: Any, where: str) -> Message:
    keys = next(
        (keys for keys in SPELLINGS if isinstance(message, dict) and keys[0] in message), ()
    )
    if not keys:
        raise UserError(
            f"{where}: expected an object with role and content (or from and value), not "
            f"{str(message)[:40]!r}"
        )
    name, content = (message.get(key) for key in keys)
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise UserError(
            f"{where}: the role {str(name)[:40]!r} is unknown; known are {', '.join(ROLES)}"
        )
    others = {
        key: value
        for key, value in message.items()
        if key not in keys and (value if key in KNOWN else not is_metadata(key, value))
    }
    if content is not None or not MEANT & others.keys():
        content = _text(content, where)
    return {"role": role, "content": content, **others}


def _text(content: Any, where: str) -> str:
    """Content as text."""
    if isinstance(content, list):
        return "\n".join(_text_of_part(part, where) for part in content)
    if not isinstance(content, str):
        kind = "missing or null" if content is None else type(content).__name__
        raise UserError(f"{where}: the content must be text, not {kind}")
    return content


def _text_of_part(part: Any, where: str) -> str:
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    if kind not in TEXTS or not isinstance(part.get("text"), str):
        raise UserError(
            f"{where}: the content has a part of type {str(kind)[:40]!r}, which is not text; only "
            "text is read"
        )
    return str(part["text"])
