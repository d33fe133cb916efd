"""The files of the console and of the documentation page, read as package resources; no Python lives here."""
