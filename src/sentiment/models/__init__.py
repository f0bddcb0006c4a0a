"""Recurrent layers, pooling, the classifier; its checkpoint, its logits, and what they rest on."""
