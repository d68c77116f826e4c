"""Short chat templates with the habits of those in use, for tokenizers of `helpers.models`."""

TURN = "<|{{ m.role }}|>\n{{ m.content }}<|endoftext|>\n"
LOOP = "{% for m in messages %}"
ASK = "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
)
WITHOUT_REASONING = (
    "{% set c = m.content %}{% if m.role == 'assistant' and '</think>' in c %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
)
CHATML = LOOP + TURN + ASK
TEMPLATES = {
    "chatml": CHATML,
    "first turn has a default system message": (
        LOOP + "{% if loop.first and m.role != 'system' %}<|system|>\nHelp.<|endoftext|>\n"
        "{% endif %}" + TURN + ASK
    ),
    "inst, system in the first user turn": (
        "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}"
        "{% set turns = messages[1:] %}{% else %}{% set s = '' %}{% set turns = messages %}"
        "{% endif %}{% for m in turns %}" + ALTERNATE + "{% if m.role == 'user' %}[INST] "
        "{% if loop.first and s %}<<SYS>>\n{{ s }}\n<</SYS>>\n\n{% endif %}{{ m.content.strip() }}"
        " [/INST]{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
    ),
    "header with a date": (
        "{% if strftime_now is defined %}{% set date = strftime_now('%d %b %Y') %}{% endif %}"
        "<|system|>\nToday: {{ date }}\n" + LOOP + "<|{{ m.role }}|>\n\n{{ m.content | trim }}"
        "<|endoftext|>" + "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
    ),
    "model turns, no system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + LOOP + ALTERNATE + "{% set role = 'model' if m.role == 'assistant' else m.role %}"
        "<|system|>{{ role }}\n{{ m.content | trim }}<|pad|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|system|>model\n{% endif %}"
    ),
    "reasoning stripped, block opened": (
        LOOP + WITHOUT_REASONING + "<|{{ m.role }}|>{{ c }}<|endoftext|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
    ),
    "reasoning only in the last turn": (
        LOOP + WITHOUT_REASONING + "<|{{ m.role }}|>\n{% if m.role == 'assistant' and loop.last %}"
        "<think>\n{{ m.content.split('</think>')[0].split('<think>')[-1].strip('\n') "
        "if '</think>' in m.content else '' }}\n</think>\n\n{% endif %}{{ c }}<|endoftext|>\n" + ASK
    ),
    "obeys /no_think": (
        "{% set ns = namespace(think=true) %}{% for m in messages %}"
        "{% if '/no_think' in m.content %}{% set ns.think = false %}{% endif %}{% endfor %}"
        + LOOP + "<|{{ m.role }}|>\n{{ m.content.replace('/no_think', '').rstrip() }}"
        "<|endoftext|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n"
        "{% if not ns.think %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    ),
    "json": LOOP + "<|{{ m.role }}|>{{ m.content | tojson }}\n" + ASK,
    "json in ASCII, whole": LOOP + "<|user|>{{ m | tojson(ensure_ascii=true) }}\n" + ASK,
    "length and first letter": (
        LOOP + "<|{{ m.role }}|>{{ m.content | length }}{% if m.content[:1] == ' ' %} (space)"
        "{% endif %}: {{ m.content }}\n" + ASK
    ),
    "capitals": LOOP + "<|{{ m.role }}|>{{ m.content | capitalize }}\n" + ASK,
    "marks by the turn's number": (
        LOOP + "{{ loop.index0 }}{% if loop.last %}!{% endif %}<|{{ m.role }}|>{{ m.content }}\n"
        + ASK
    ),
    "knows no generation prompt": LOOP + TURN + "{% endfor %}",
    "channels": (
        LOOP + "<|{{ m.role }}|>{% if m.role == 'assistant' %}final{% endif %}<|pad|>"
        "{{ m.content }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}<|assistant|>"
        "{% endif %}"
    ),
}  # fmt: skip
