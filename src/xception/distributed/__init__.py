"""Training on many machines: launchers, and the asynchronous parameter server (section 4.3)."""
