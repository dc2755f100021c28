"""The command line ``lmstudio-provider``: ``main`` runs a command, each of which is a module here."""
