"""What one sample is made of: image, label, prompt, and the processor that turns them into tensors."""
