"""Several worker processes of one command: started, restarted, stopped, and shown as one."""
