"""The hands that dispatch reaches. A connector gets the bytes that were decided on, and says only what it can prove."""
