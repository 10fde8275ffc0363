"""Which templates do the differential tests render? Written for this project in the shapes that published checkpoints
use: ChatML, Llama 2 and 3.1, Mistral, Qwen, DeepSeek V2 to R1, Gemma, Phi, Zephyr, Command and Granite."""

SHAPES = {}

SHAPES["chatml"] = """{% for message in messages %}
{{'<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>' + '\\n'}}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}
"""

SHAPES["chatml_generation"] = """{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.role == 'assistant' %}
    {% generation %}
{{ message.content }}{{- eos_token -}}
    {% endgeneration %}
    {%- else %}
        {{- message.content | default('', true) }}<|im_end|>
    {% endif %}
{%- endfor %}
"""

SHAPES["llama2"] = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

SHAPES["llama3_tools"] = """{{- bos_token }}
{%- set date_string = date_string if date_string is defined else strftime_now('%d %b %Y') %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n\\n' }}
{%- if tools is not none and tools is defined %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- '\\n\\n' }}
    {%- endfor %}
{%- endif %}
{{- system_message ~ '<|eot_id|>' }}
{%- for message in messages %}
    {%- if 'tool_calls' in message and message.tool_calls %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception('This model only supports single tool-calls at once!') }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}{{ '}<|eot_id|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

SHAPES["mistral_tools"] = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{#- Roles must alternate. -#}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- ', "id": "bad"}' }}
            {%- else %}
                {{- ', "id": "' + tool_call.id + '"}' }}
            {%- endif %}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + (message.content.content if message.content.content is defined else message.content)|string + ', ' }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""

SHAPES["qwen3_reasoning"] = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

SHAPES["deepseek_v2"] = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

SHAPES["deepseek_coder"] = """{% if not add_generation_prompt is defined %}
{% set add_generation_prompt = false %}
{% endif %}
{%- set ns = namespace(found=false) -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set ns.found = true -%}
    {%- endif -%}
{%- endfor -%}
{{bos_token}}{%- if not ns.found -%}
{{'You are a coding assistant.\\n'}}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
{{ message['content'] }}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Instruction:\\n' + message['content'] + '\\n'}}
        {%- else %}
{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{'### Response:'}}
{% endif %}"""

SHAPES["deepseek_v3"] = """{% set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true, is_last_user=false) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{%- set ns.is_last_user = true -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] is defined and message['tool_calls'] is not none %}{%- for tool in message['tool_calls'] %}{{'<｜tool▁call▁begin｜>'+ tool['function']['name'] + '<｜tool▁sep｜>' + (tool['function']['arguments'] if tool['function']['arguments'] is string else tool['function']['arguments'] | tojson) + '<｜tool▁call▁end｜>'}}{%- endfor %}{%- elif message['role'] == 'assistant' %}{%- set content = message['content'] -%}{%- if '</think>' in content %}{%- set content = content.split('</think>', 1)[1] -%}{%- endif %}{{'<｜Assistant｜>' + content + eos_token}}{%- endif %}{%- endfor -%}{%- if add_generation_prompt %}{{'<｜Assistant｜>'}}{%- if not thinking %}{{'</think>'}}{%- else %}{{'<think>'}}{%- endif %}{% endif %}"""

SHAPES["gemma"] = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

SHAPES["phi"] = """{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""

SHAPES["zephyr"] = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

SHAPES["typescript_tools"] = """{%- macro ts_type(spec, required=false) -%}
    {%- if spec.type == "array" -%}
        {%- if spec['items'] -%}{{- ts_type(spec['items']) + "[]" -}}{%- else -%}any[]{%- endif -%}
    {%- elif spec.enum is defined -%}
        {{- '"' + spec.enum|join('" | "') + '"' -}}
    {%- elif spec.type is string -%}
        {{- {'integer': 'number', 'string': 'string'}[spec.type] if spec.type in ('integer', 'string') else spec.type -}}
    {%- else -%}
        any
    {%- endif -%}
    {%- if not required %}?{% endif -%}
{%- endmacro -%}
{%- macro render_tools(tools, title='Tools') %}
## {{ title }}
{% for tool in tools %}
// {{ tool.function.description | default('none given') | replace('\\n', ' ') }}
type {{ tool.function.name }} = (_: {
{%- for name, spec in tool.function.parameters.properties | dictsort %}
  {{ name }}: {{ ts_type(spec, required=name in (tool.function.parameters.required or [])) }},
{%- endfor %}

}) => any;
{% endfor %}
{%- endmacro -%}
{% if tools %}{{ render_tools(tools) }}{{ render_tools(tools | selectattr('function.name', 'ne', 'calc') | list, title="Others" | upper) }}{% endif %}
{% for m in messages if m.role != 'system' %}
{{ loop.index }}/{{ loop.length }} {{ m.role | capitalize }}: {% set text %}{{ m.content }}{% endset %}{{ text | trim | indent(2) }}
{% if loop.nextitem is defined and loop.nextitem.role == m.role %}(again){% endif %}
{% else %}
nobody spoke
{% endfor %}"""

SHAPES["granite_documents"] = """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}
    {%- set system_message = "Knowledge Cutoff Date: April 2024.\\nToday's Date: " + strftime_now('%B %d, %Y') + "." %}
    {%- if tools and documents %}{%- set system_message = system_message + " Both." %}{%- elif tools %}{%- set system_message = system_message + " Tools." %}{%- endif %}
    {%- set rest = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\\n' }}
{%- with count = rest | length %}{{ count }}:{{ rest | map(attribute='role') | unique | join(',') }}{% endwith %}
{%- for message in rest %}
    {%- if message['role'] == 'tool' %}{% continue %}{% endif %}
    {%- if loop.index > 6 %}{% break %}{% endif %}
    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + (message['content'] or '')|string + '<|end_of_text|>\\n' }}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|start_of_role|>assistant' }}{%- if controls %}{{- ' ' + controls | tojson() }}{%- endif %}{{- '<|end_of_role|>' }}
    {%- endif %}
{%- endfor %}"""

# Expressions over the variables of expressions_test; each is rendered alone.
EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2 ~ 'x'
7 // 2, -7 // 2
-7 % 3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
1e16
1e15
1.5e-5
0.1 + 0.2
1e300 * 10
10 / 4
3 / 0
100000000000000000000.0
true + 1
'a' * 3
[1, 2] * 2
'a' + 1
none + 'a'
missing + 'a'
missing.x
none.x
d.missing
d.missing.x
d['k']
d.k
d.items
d['items']
l[0]
l[-1]
l[10]
l[1:]
l[::-1]
l[-2:]
l[:-1]
l[5:1]
l[1:100:2]
s[0]
s[-1]
s[1:3]
s[::-1]
s[100]
s.x
u[1:4]
u[::-2]
(1,)
(1, 'a', none)
()
[]
{}
[1, [2, 'x'], {'a': (1, 2)}]
{'a': 1, 'b': [true, none, 1.5]}
"it's"
'say "x" it\'s'
['it\'s', "a\"b", 'both\'"', '\n\t\\', 'é中\u200b\x01']
1 < 2 < 3
1 < 2 > 3
1 == 1.0
true == 1
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
(1, 2) == [1, 2]
'a' in 'cat'
1 in [1, 2]
'k' in d
1 in 'abc'
'x' not in d
not 1 in [2]
1 in 5
none is none
missing is defined
d.k is defined
missing is undefined
s is string
1 is number
true is number
1 is integer
true is integer
1.0 is float
d is mapping
l is iterable
s is iterable
5 is iterable
l is sequence
missing is sequence
true is boolean
true is true
1 is true
false is false
1 is not none
3 is odd
4 is even
9 is divisibleby 3
9 is divisibleby(4)
1 is eq 1
'a' is ne('b')
1 is lt 2
's' is in 'stone'
'S' is upper
's' is lower
'upper' is filter
'odd' is test
none is sameas none
l is callable
1 if true else 2
1 if false
'a' if missing else 'b'
missing or 'x'
'' or none
1 and 0
not missing
s | length
u | length
missing | length
5 | length
l | first
l | last
[] | first
l | join
l | join('-')
[1, none, 'a'] | join(', ')
dl | join(',', attribute='n')
missing | join
s | upper
u | upper
u | lower
'ǆ ŉ ß ﬁ İ Σ ΑΣ' | upper
'ǆ ŉ ß ﬁ İ Σ ΑΣ' | lower
'hello wORLD-foo (bar)' | title
'ǆ hello wORLD' | capitalize
'hello wORLD foo\'s 3rd'.title()
'ß ǆabc'.title()
'  x  ' | trim
'xxaxx' | trim('x')
'\u3000 x\u00a0\x1f' | trim | length
s | replace('l', 'L')
s | replace('l', 'L', 1)
'abc' | replace('', '-')
'aaa'.replace('a', 'b', 2)
1 | string + 'x'
'5' | int + 1
'x' | int
'x' | int(7)
'3.7' | int
3.9 | int
'ff' | int(0, 16)
none | int
'1.5' | float
'x' | float
1 | float
[3, 1, 2] | sort
['b', 'A', 'c'] | sort
['b', 'A', 'c'] | sort(case_sensitive=true)
[3, 1, 2] | sort(reverse=true)
dl | sort(attribute='n') | map(attribute='n') | list
[1, 'a'] | sort
['a', 'A', 'b', 1, 1.0, true] | unique | list
[3, 1, 2] | max
[3, 1, 2] | min
[] | max
[1, 2, 3] | sum
dl | sum(attribute='n')
dl | map(attribute='n') | list
dl | map(attribute='x', default='?') | list
['a', 'b'] | map('upper') | list
[' a ', 'b'] | map('trim') | join('|')
['ab', 'cb'] | map('replace', 'b', 'x') | list
[1, 2, 3, 4] | select('odd') | list
[1, 2, 3, 4] | select('gt', 2) | list
[0, 1, '', 'a'] | select | list
[1, 2, 3, 4] | reject('odd') | list
dl | selectattr('n', 'equalto', 2) | list
dl | selectattr('x') | list
dl | selectattr('x', 'defined') | list
dl | rejectattr('n', 'in', [1, 2]) | list
d | items | list
d.items() | list
d.keys() | list
d.values() | list
d.get('k')
d.get('zz')
d.get('zz', 5)
d | dictsort
d | dictsort(false, 'key', true)
missing | items | list
5 | items
d | tojson
nested | tojson
nested | tojson(indent=2)
nested | tojson(indent=0)
nested | tojson(ensure_ascii=true)
nested | tojson(separators=(',', ':'))
nested | tojson(sort_keys=true)
nested | tojson(indent='\t')
u | tojson
[] | tojson(indent=2)
{} | tojson(indent=2)
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
missing | tojson
1e20 | tojson
nested
nested.deep
nested | string
'a<b>&"\'' | escape
'a<b' | safe
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(2, blank=true)
'a\nb' | indent('> ')
'x' | center(6)
'x' | center(5)
'abc' | list
d | list
'abc' | reverse
[1, 2] | reverse | list
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 0) | list
-5 | abs
-5.5 | abs
2.567 | round(2)
2.5 | round
3.5 | round
42.55 | round(1, 'floor')
42.51 | round(1, 'ceil')
'%s and %d' | format('a', 5)
'%05.1f|%-5s|%5s|%x' % (1.25, 'a', 'b', 255)
'%s' % 'x'
'%s %s' % 'x'
'%(a)s' % {'a': 1}
'100%%' % ()
'%r' % 'x'
'{} {}'.format(1, 'a')
'{1} {0}'.format(1, 'a')
'{{}} {0}'.format(none)
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
''.split()
''.split(',')
'a'.split('')
'a\nb\r\nc\u2028d\n'.splitlines()
'a\nb'.splitlines(true)
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('x')
'abc'.rpartition('x')
'  x '.strip() ~ '|'
'  x '.lstrip() ~ '|'
'  x '.rstrip() ~ '|'
'xyxaxyx'.strip('xy')
'中a中'.strip('中')
'abc'.startswith('ab')
'abc'.startswith(('x', 'a'))
'abc'.endswith('bc')
'abcb'.find('b')
'中bcb'.rfind('b')
'abc'.find('z')
'abc'.index('z')
'abcb'.count('b')
'-'.join(['a', 'b'])
'-'.join([1])
'abc'.removeprefix('a')
'abc'.removesuffix('c')
'12'.isdigit()
''.isdigit()
'ab1'.isalnum()
'ab'.isalpha()
' '.isspace()
'abc'.upper().lower()
l.index(2)
l.index(99)
l.count(2)
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(0) | list
dict(a=1, b='x')
dict({'a': 1}, b=2)
namespace(a=1).a
strftime_now('%Y-%m-%d %H:%M:%S %A %B %j')
strftime_now('%d %b %Y')
strftime_now('%-d|%e|%y|%I%p')
raise_exception('boom')
missing | default('x')
none | default('x')
none | default('x', true)
'' | d('x', boolean=true)
'a' 'b'
'\x41\u00e9\101\q'
1_000
1 is none or 2 is none
-l | first
-5 | abs
(-5) | abs
-missing
- '5'
+5
not not 1
[1, 2, 3][1:][0]
'abc'[1:][::-1] | upper
(1 if true else 2) ~ 'x' if true
{'a': {'b': [1, {'c': 'deep'}]}}.a.b[1].c
l.0
nested.list.1
('a' ~ 1 ~ none ~ true ~ 1.5 ~ [1] ~ {'a': 1})
s ~ u | length
'a' in ['a'] and 'b' not in ['a']
d == {'k': 'v', 'n': 1}
[d] == [{'n': 1, 'k': 'v'}]
loop
true
True
None
"\\n"
'a' < 'B'
d < d
missing == missing
missing == none
missing in [1]
missing in missing
'x' in missing
missing[0]
missing()
s()
d.k()
l | map('nope') | list
l | nope
l is nope
l.append(4)
d.update({'a': 1})
s.nope()
nope(1)
[1, 2
1 +
{'a' 1}
'open
a b
1 2
""".strip("\n").split("\n")

# Whole templates about white space, scopes and control flow.
TEMPLATES = [
    "a\n{% if true %}\n  b\n{% endif %}\nc\n",
    "a\n  {% if true %}  \n  b\n  {% endif %}  \nc\n\n",
    "  {%+ if true %}x{% endif +%}\n y",
    "a {%- if true -%}  \n b  {%- endif -%} \n c",
    "{{ 'a' }}\n{{ 'b' }}\n",
    "a  {{- 'b' -}}  c",
    "a {# comment #}\nb {#- x -#} \n c\n  {# y #}\nd {#+ z +#}\ne",
    "{% raw %}{{ x }} {% if %}{% endraw %}\nz",
    "a\n  {%- raw -%}  {{ y }}\n  {%- endraw -%}  b",
    "x{% raw %}\n a\n  {% endraw %}\nb",
    "\r\na\r\nb\rc\r\n",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}{{ ns.c is defined }}",
    "{% set d2 = {} %}{% set d2.x = 1 %}",
    "{% if false %}{% set y = 1 %}{% endif %}{{ y is defined }}",
    "{% for k, v in d.items() %}{{ loop.index }}{{ k }}={{ v }}{% if not loop.last %};{% endif %}{% endfor %}",
    "{% for a, (b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [(1, 2), (3,)] %}{{ a }}{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in missing %}a{% else %}none{% endfor %}",
    "{% for x in none %}a{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index0 }}:{{ x }}/{{ loop.length }}/{{ loop.revindex }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}|{{ x }}|{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{% for y in 'ab' %}{{ loop.index }}{{ x }}{{ y }}{{ loop.depth }} {% endfor %}{{ loop.first }}{% endfor %}",
    "{% for x in l %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in 'héy' %}{{ loop.cycle('a', 'b') }}{{ x }}{% endfor %}",
    "{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m() }}{{ m(1, 2, 3) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% set g = 5 %}{% macro m() %}{{ g }}{% set g = 6 %}{{ g }}{% endmacro %}{{ m() }}{{ g }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('b') %}in {{ s }}{% endcall %}",
    "{% macro each(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(v) each(l) %}({{ v }}){% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% set x %}a{{ s }}b{% endset %}{{ x | upper }}",
    "{% set x | upper | trim %} a{{ s }} {% endset %}{{ x }}",
    "{% filter upper %}a{{ s }}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set (a, b) = (1, 2) %}{{ a }}{{ b }}",
    "{% if s == 'x' %}1{% elif s %}2{% elif l %}3{% else %}4{% endif %}",
    "{% generation %}a{% set z = 1 %}{% endgeneration %}{{ z is defined }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ '}}' }}{{ '%}' }}",
    "{{ x if x is defined else 'n' }}{% set x = 3 %}{{ x }}",
    "{% for i in l %}{% set seen = seen | default(0) + i %}{{ seen }}{% endfor %}",
    "{% for i in l %}{{ last is defined }}{% set last = i %}{% endfor %}",
    "{{ 'a' }}{{ '' }}{{ none }}{{ true }}{{ 1.0 }}{{ missing }}",
    "{% for m in l %}{% set loop_index = loop.index %}{% for q in l %}{{ loop_index }}{% endfor %}{% endfor %}",
    "{% set t = l %}{% set l = l + [9] %}{{ t }}{{ l }}",
    "{% if not s is defined %}a{% else %}b{% endif %}",
    "{%if s%}a{%endif%}{{s}}",
    "{% if true %}\n\n  a\n{% endif %}\n\n",
    "a{% if true %} {% endif %}b\n {% if true %} {% endif %} c",
    "{% for i in range(3) -%}\n  {{ i }}\n{%- endfor %}\n",
    "\n\n{{ s }}\n\n", "{", "{{", "{% if true %}", "{% endif %}", "{% nope %}", "{{ s }", "{# open", "{% raw %}x",
    "{{ 1 }}}", "{ { s } }", "{% for x in l %}", "{% set %}", "{% set 1 = 2 %}", "{% break %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{{ range(1000000) | list | length }}",
]
