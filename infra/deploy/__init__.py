"""What only the image and compose.yaml need."""
