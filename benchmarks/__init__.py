"""What the package costs, measured beside bare loops and other clients: ``make bench``."""
