"""CIFAR-10 with wrong labels planted: how many does each score find? (Picard et al., 2022, section 5.)"""
