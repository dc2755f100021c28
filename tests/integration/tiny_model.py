"""A model file of a few hundred kilobytes that says one fixed sentence, for llama.cpp to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDING = 64
CONTEXT = 256
SENTENCE = ["Hello", " from", " a", " tiny", " local", " model", "."]

# What ends a prompt: the template writes it after the last message, so it is what the sentence follows.
ASSISTANT = "<|assistant|>"
ROLES = ["<|system|>", "<|user|>", "<|tool|>", ASSISTANT]
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}" + ASSISTANT


def write(path: Path) -> None:
    """Write a llama with one block that does nothing, so that a token's embedding alone decides what follows it.

    With the weights of attention and feed-forward at zero, what reaches the output is the (normalised) embedding of the
    last token. The output row of token B is made k times the embedding of A, which makes B follow A with near
    certainty, at any temperature that people use.
    """
    import gguf
    import numpy as np

    control, byte = gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    vocabulary = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", control), ("</s>", control)]
    vocabulary += [(role, control) for role in ROLES]
    vocabulary += [(f"<0x{value:02X}>", byte) for value in range(256)]
    # A prompt is a token for each byte, but for what is user-defined: all of the sentence that follows its first word.
    vocabulary += [(SENTENCE[0], gguf.TokenType.NORMAL)]
    vocabulary += [(piece, gguf.TokenType.USER_DEFINED) for piece in SENTENCE[1:]]
    tokens = [token for token, _ in vocabulary]
    count = len(tokens)

    embeddings = np.random.default_rng(1).normal(size=(count, EMBEDDING)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    output = np.zeros((count, EMBEDDING), dtype=np.float32)
    chain = [tokens.index(token) for token in [ASSISTANT, *SENTENCE, "</s>"]]
    for before, after in zip(chain, chain[1:]):
        output[after] = 20 * embeddings[before]

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(EMBEDDING)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // 2)
    writer.add_vocab_size(count)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([kind for _, kind in vocabulary])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    ones = np.ones(EMBEDDING, dtype=np.float32)
    zeros = np.zeros((EMBEDDING, EMBEDDING), dtype=np.float32)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", zeros)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
