"""The peers' own apps; they run in environments of their own and import nothing of this project but each other."""
