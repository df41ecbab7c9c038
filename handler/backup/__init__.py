"""Handles one message, from decoded event to result; knows protocols, not pika, httpx or SQL."""
