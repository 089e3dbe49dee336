"""The parts of the flights demo: its tables, its questions, its picture. Start it with flights_demo.py."""
