"""What servers of models are called, where they are told apart."""

from __future__ import annotations

OLLAMA_NAME, LLAMA_SERVER, VLLM, DLLAMA_API = "Ollama", "llama-server", "vLLM", "dllama-api"
COMPATIBLE = "OpenAI-compatible"  # nothing else is known of it
