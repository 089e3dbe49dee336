"""improved_db: MySQL and MariaDB for Python programs with threads."""
