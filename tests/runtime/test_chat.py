"""Chat templates: what they may use, and what they may not do."""

from __future__ import annotations

from datetime import datetime

import pytest

from paceline.errors import PromptError
from paceline.runtime.chat import ChatTemplate, Message

HELLO: list[Message] = [{"role": "user", "content": "hé <b>"}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>hé <b></s>"),
        ("{{ messages[0]['role'] | upper }}", "USER"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "hé <b>"}]'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{% for m in messages %}\n  {% if true %}\nx{% endif %}\n{% endfor %}\n", "x"),
        ("{% for n in [1, 2, 3] %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}", "1"),
        ("{{ add_generation_prompt }}{{ tools is defined }}", "TrueFalse"),
        ("{{ strftime_now('%Y') }}", datetime.now().strftime("%Y")),
    ],
)
def test_renders(source: str, expected: str) -> None:
    assert ChatTemplate(source, bos="<s>", eos="</s>").render(HELLO) == expected


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ ''.__class__.__mro__ }}", "refuses"),
        ("{{ messages.append(1) }}", "refuses"),
        ("{{ messages[0].content + 1 }}", "refuses"),
        ("{{ 1 // 0 }}", "refuses"),
        ("{{ range(999999999) | list }}", "refuses"),
        ("{{ '%d' | format('x') }}", "refuses"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "refuses"),
    ],
)
def test_refusals(source: str, sentence: str) -> None:
    with pytest.raises(PromptError, match=sentence):
        ChatTemplate(source).render(HELLO)


def test_no_template_at_all() -> None:
    with pytest.raises(PromptError, match="cannot be read"):
        ChatTemplate("{% if %}")
