"""
The demo model with a template that knows tools, so that a real llama-server makes it call them.

A call begins, in this template, with words that the model says anyway when it is asked what a worker is; from there on
the server's grammar leaves it no choice but to call.
"""

from __future__ import annotations

from pathlib import Path

import gguf
from conftest import DEMO

TEMPLATE = """{%- if tools %}<|start_header_id|>system<|end_header_id|>

<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
 lends its{"name": <function-name>, "arguments": <args-json-object>}</tool_call><|eot_id|>{%- endif %}
{%- for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>

{%- if message.content %}{{ message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
 lends its{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}{%- endif %}<|eot_id|>{%- endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
_OURS = ("general.architecture", "tokenizer.chat_template")


def tooled(path: Path) -> Path:
    reader = gguf.GGUFReader(DEMO)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_chat_template(TEMPLATE)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in _OURS:
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
