"""Events as they are on RabbitMQ: the messages that we accept and publish, and how they are decoded.

Pure: no input or output, and no import from the rest of the project.
"""
