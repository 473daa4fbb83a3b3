"""The CIFAR trainer: real images (data.py), their augmented views (views.py), and probes of what was learned."""
