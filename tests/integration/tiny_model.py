"""A model file of less than a megabyte that says one fixed sentence, and short JSON, for llama.cpp to run."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = 512
SENTENCE = ["Hello", " from", " a", " tiny", " local", " model", "."]

# The template ends a prompt with ASSISTANT, which the sentence follows, or if tools are offered, with TOOLS, which a
# call follows.
ASSISTANT, TOOLS = "<|assistant|>", "<|tools|>"
# The mark that begins a call in Hermes's form, which llama.cpp recognizes in the template.
CALL = "<tool_call>"
ROLES = ["<|system|>", "<|user|>", "<|tool|>", ASSISTANT, TOOLS, CALL]
TEMPLATE = (
    "{% for t in tools %}<|system|>{{ t['function']['name'] }}{% endfor %}"
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% for call in m['tool_calls'] %}"
    + CALL
    + """{"name": "{{ call['function']['name'] }}", "arguments": {{ call['function']['arguments'] | tojson }}}"""
    "</tool_call>{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{% if tools %}" + TOOLS + "{% else %}" + ASSISTANT + "{% endif %}{% endif %}"
)


def byte(character: str) -> str:
    return f"<0x{ord(character):02X}>"


END = "</s>"
TOKENS = ["<unk>", "<s>", END, *ROLES, *(byte(chr(value)) for value in range(256)), *SENTENCE]
EMBEDDING = len(TOKENS)

# The tokens that may follow any token, best first: the end; or if a grammar forbids it, marks that close a string or
# an array, so that JSON ends soon, but with all members of an object; then digits and letters in order, then the rest.
PREFERRED = [END, *dict.fromkeys(map(byte, '"],}2{' + string.printable))]
# Pairs that are better than all of those: the sentence, also after a quote; 2.5 if a number may have a fraction; a call
# if there are tools, and its end, although another call could follow.
FOLLOWS = [*zip([ASSISTANT, *SENTENCE], [*SENTENCE, END]), (byte('"'), SENTENCE[0])]
FOLLOWS += [(byte("2"), byte(".")), (byte("."), byte("5"))]
FOLLOWS += [(TOOLS, CALL), (CALL, SENTENCE[0]), (byte("}"), byte("<"))]
# Pairs that are worse than all of those, so that objects and arrays are not empty if they may have members.
AVOIDED = [(byte("{"), byte("}")), (byte("["), byte("]"))]


def write(path: Path) -> None:
    """Write a llama with one block that does nothing, so that only the last token decides which token follows.

    Each token's embedding has a separate dimension, and the weights of attention and feed-forward are zero. So the
    weights of the output are a table: how likely is each token after each other one. The vector of a text is the mean
    of those of its tokens, so it says how often each token is in the text.
    """
    import gguf
    import numpy as np

    scores = np.zeros((len(TOKENS), len(TOKENS)), dtype=np.float32)
    # Each is so much better than the next that a usual temperature or penalty for repetition does not matter.
    for rank, token in enumerate(reversed(PREFERRED)):
        scores[TOKENS.index(token)] = 100 * 1.2**rank
    for before, after in FOLLOWS:
        scores[TOKENS.index(after), TOKENS.index(before)] = 100 * 1.2 ** (len(PREFERRED) + 10)
    for before, after in AVOIDED:
        scores[TOKENS.index(after), TOKENS.index(before)] = -100

    kinds = {"<unk>": gguf.TokenType.UNKNOWN, **dict.fromkeys(["<s>", END, *ROLES], gguf.TokenType.CONTROL)}
    # Each byte of a prompt is a token, except in the user-defined tokens: the sentence after its first word.
    kinds.update({SENTENCE[0]: gguf.TokenType.NORMAL, **dict.fromkeys(SENTENCE[1:], gguf.TokenType.USER_DEFINED)})
    head = 32
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(head)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([kinds.get(token, gguf.TokenType.BYTE) for token in TOKENS])
    writer.add_unk_token_id(TOKENS.index("<unk>"))
    writer.add_bos_token_id(TOKENS.index("<s>"))
    writer.add_eos_token_id(TOKENS.index(END))
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    ones = np.ones(EMBEDDING, dtype=np.float32)
    writer.add_tensor("token_embd.weight", np.eye(EMBEDDING, dtype=np.float32))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", scores)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((head, EMBEDDING), dtype=np.float32))
    for name in ("attn_output", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((EMBEDDING, head), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
